/// A picture of plain colours.
public struct Picture: Sendable {
    /// Row by row, the bytes red, green, blue, alpha of each pixel; alpha is ignored.
    public let rgba: [UInt8]
    public let width: Int
    public let height: Int

    public static let longestSide = 8192

    /// - Throws: `SegmenterError.badPicture` where a side is too long or `rgba` has another size.
    public init(rgba: [UInt8], width: Int, height: Int) throws {
        let sides = 1...Picture.longestSide
        guard sides.contains(width), sides.contains(height) else {
            throw SegmenterError.badPicture(
                "A picture has sides of 1 to \(Picture.longestSide), not \(width) x \(height). "
                    + "Make it smaller.")
        }
        guard rgba.count == 4 * width * height else {
            throw SegmenterError.badPicture(
                "\(rgba.count) bytes are no picture of \(width) x \(height). "
                    + "Give four for each pixel.")
        }
        self.init(checked: rgba, width: width, height: height)
    }

    private init(checked rgba: [UInt8], width: Int, height: Int) {
        self.rgba = rgba
        self.width = width
        self.height = height
    }

    /// The picture turned and mirrored as its EXIF orientation says; others than 2...8 do nothing.
    public func upright(orientation: Int) -> Picture {
        // Where the first pixel comes from, and how far the next one lies along x and along y.
        let right = width - 1
        let last = width * (height - 1)
        let step: (first: Int, alongX: Int, alongY: Int)
        switch orientation {
        case 2: step = (right, -1, width)
        case 3: step = (last + right, -1, -width)
        case 4: step = (last, 1, -width)
        case 5: step = (0, width, 1)
        case 6: step = (last, -width, 1)
        case 7: step = (last + right, -width, -1)
        case 8: step = (right, width, -1)
        default: return self
        }
        let isTurned = orientation > 4
        let newWidth = isTurned ? height : width
        let newHeight = isTurned ? width : height
        let turned = [UInt8](unsafeUninitializedCapacity: rgba.count) { target, count in
            var place = 0
            for y in 0..<newHeight {
                for x in 0..<newWidth {
                    let source = 4 * (step.first + y * step.alongY + x * step.alongX)
                    for band in 0..<4 {
                        target[place + band] = rgba[source + band]
                    }
                    place += 4
                }
            }
            count = rgba.count
        }
        return Picture(checked: turned, width: newWidth, height: newHeight)
    }
}
