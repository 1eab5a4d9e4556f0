import CoreGraphics
import Foundation

/// Milliseconds of one picture. The steps are nil where the network does all of them at once.
public struct Times: Sendable {
    public let prepare: Double?
    public let network: Double?
    public let restore: Double?
    public let total: Double
}

/// The class of each pixel of a picture.
public struct Segmentation: Sendable {
    /// An index into `classes` for each pixel, row by row.
    public let labels: [UInt8]
    public let width: Int
    public let height: Int
    /// Names, background first.
    public let classes: [String]
    public let times: Times
    /// Pixels of each class, by its label.
    public let areas: [Int]

    init(labels: [UInt8], width: Int, height: Int, classes: [String], times: Times) {
        self.labels = labels
        self.width = width
        self.height = height
        self.classes = classes
        self.times = times
        var areas = [Int](repeating: 0, count: classes.count)
        for label in labels {
            areas[Int(label)] += 1
        }
        self.areas = areas
    }

    /// Share of the picture that a class covers, 0...1.
    public func share(of label: Int) -> Double {
        Double(areas[label]) / Double(labels.count)
    }

    /// Half transparent; told apart by people who see few colours.
    public static let palette: [SIMD4<UInt8>] = [
        [230, 159, 0, 128], [86, 180, 233, 128], [0, 158, 115, 128], [204, 121, 167, 128],
    ]

    /// An image to lay over the photo, of the same size; background is transparent.
    ///
    /// - Parameter colors: Of the classes behind background: red, green, blue, alpha. They begin
    ///   again where there are too few.
    public func overlay(colors: [SIMD4<UInt8>] = Segmentation.palette) -> CGImage? {
        var pixels = [UInt8](repeating: 0, count: 4 * labels.count)
        for (index, label) in labels.enumerated() where label > 0 && !colors.isEmpty {
            let color = colors[(Int(label) - 1) % colors.count]
            for band in 0..<4 {
                pixels[4 * index + band] = color[band]
            }
        }
        guard let provider = CGDataProvider(data: Data(pixels) as CFData) else { return nil }
        return CGImage(
            width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32,
            bytesPerRow: 4 * width, space: CGColorSpaceCreateDeviceRGB(),
            bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue),
            provider: provider, decode: nil, shouldInterpolate: false, intent: .defaultIntent)
    }
}
