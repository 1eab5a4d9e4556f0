import CoreGraphics
import CoreVideo
import Foundation
import ImageIO

#if canImport(UIKit)
import UIKit
#endif

extension Picture {
    /// Reads a photo, upright as its EXIF orientation says.
    ///
    /// - Throws: `SegmenterError.badPicture` where it holds none that this system can decode.
    public init(photo: Data) throws {
        guard let source = CGImageSourceCreateWithData(photo as CFData, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else {
            throw SegmenterError.badPicture("This is no picture to decode. Choose another file.")
        }
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        let orientation = properties?[kCGImagePropertyOrientation] as? Int ?? 1
        self = try Picture(image, orientation: orientation)
    }

    /// Takes the colours of an image as they were decoded.
    ///
    /// It is drawn in its own colour space: in another one its values would be converted, which the
    /// network was not trained with.
    ///
    /// - Parameter orientation: As EXIF counts it, which is `CGImagePropertyOrientation`, too.
    public init(_ image: CGImage, orientation: Int = 1) throws {
        let isGrey = image.colorSpace?.model == .monochrome
        let opaque: [CGImageAlphaInfo] = [.none, .noneSkipFirst, .noneSkipLast]
        let hasAlpha = !opaque.contains(image.alphaInfo)
        let alpha: CGImageAlphaInfo = hasAlpha ? .premultipliedLast : .noneSkipLast
        let bands = isGrey ? 1 : 4
        var pixels = [UInt8](repeating: 0, count: bands * image.width * image.height)
        let isDrawn = pixels.withUnsafeMutableBytes { bytes -> Bool in
            let context = CGContext(
                data: bytes.baseAddress, width: image.width, height: image.height,
                bitsPerComponent: 8, bytesPerRow: bands * image.width,
                space: Picture.colorSpace(of: image),
                bitmapInfo: isGrey ? CGImageAlphaInfo.none.rawValue : alpha.rawValue)
            context?.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return context != nil
        }
        guard isDrawn else {
            throw SegmenterError.badPicture("This image cannot be drawn. Convert it to RGB.")
        }
        if isGrey {
            pixels = pixels.flatMap { [$0, $0, $0, 255] }
        } else if hasAlpha {
            Picture.divideByAlpha(&pixels)
        }
        self = try Picture(rgba: pixels, width: image.width, height: image.height)
            .upright(orientation: orientation)
    }

    /// Takes a camera's frame in `kCVPixelFormatType_32BGRA`.
    ///
    /// - Throws: `SegmenterError.badPicture` for another format.
    public init(_ frame: CVPixelBuffer, orientation: Int = 1) throws {
        guard CVPixelBufferGetPixelFormatType(frame) == kCVPixelFormatType_32BGRA else {
            throw SegmenterError.badPicture(
                "A frame has the format 32BGRA. Ask for it in the videoSettings of the output.")
        }
        CVPixelBufferLockBaseAddress(frame, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
        let width = CVPixelBufferGetWidth(frame)
        let height = CVPixelBufferGetHeight(frame)
        let rowBytes = CVPixelBufferGetBytesPerRow(frame)
        guard let start = CVPixelBufferGetBaseAddress(frame) else {
            throw SegmenterError.badPicture("This frame is not in memory. Take the next one.")
        }
        let bytes = start.assumingMemoryBound(to: UInt8.self)
        var pixels = [UInt8](repeating: 255, count: 4 * width * height)
        for y in 0..<height {
            for x in 0..<width {
                let source = y * rowBytes + 4 * x
                let target = 4 * (y * width + x)
                pixels[target] = bytes[source + 2]
                pixels[target + 1] = bytes[source + 1]
                pixels[target + 2] = bytes[source]
            }
        }
        self = try Picture(rgba: pixels, width: width, height: height)
            .upright(orientation: orientation)
    }

    private static func colorSpace(of image: CGImage) -> CGColorSpace {
        let known: [CGColorSpaceModel] = [.rgb, .monochrome]
        if let own = image.colorSpace, known.contains(own.model), own.supportsOutput {
            return own
        }
        return CGColorSpace(name: CGColorSpace.sRGB) ?? CGColorSpaceCreateDeviceRGB()
    }

    private static func divideByAlpha(_ pixels: inout [UInt8]) {
        for place in stride(from: 0, to: pixels.count, by: 4) {
            let alpha = Int(pixels[place + 3])
            guard alpha > 0, alpha < 255 else { continue }
            for band in place..<place + 3 {
                pixels[band] = UInt8(min((Int(pixels[band]) * 255 + alpha / 2) / alpha, 255))
            }
        }
    }
}

#if canImport(UIKit)
extension Picture {
    /// Takes an image of UIKit, upright.
    ///
    /// - Throws: `SegmenterError.badPicture` where it holds no bitmap.
    public init(_ image: UIImage) throws {
        guard let bitmap = image.cgImage else {
            throw SegmenterError.badPicture("This image holds no bitmap. Draw it into one first.")
        }
        self = try Picture(bitmap, orientation: image.imageOrientation.exif)
    }
}

extension UIImage.Orientation {
    fileprivate var exif: Int {
        switch self {
        case .up: return 1
        case .upMirrored: return 2
        case .down: return 3
        case .downMirrored: return 4
        case .leftMirrored: return 5
        case .right: return 6
        case .rightMirrored: return 7
        case .left: return 8
        @unknown default: return 1
        }
    }
}
#endif
