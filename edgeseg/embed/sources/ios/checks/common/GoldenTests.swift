import XCTest

@testable import @MODULE@

/// Segments the golden picture, and compares the mask with Python's.
final class GoldenTests: XCTestCase {
    func testTheGoldenPictureGivesTheGoldenMask() throws {
        let expected = try golden("labels.bin")
        let found = try Segmenter().segment(goldenPicture())
        let flips = zip(found.labels, expected).filter { $0 != $1 }.count
        XCTAssertEqual(found.labels.count, expected.count)
        XCTAssertLessThanOrEqual(Double(flips) * 1e4 / Double(expected.count), @MAX_FLIPS@)
        XCTAssertEqual(found.areas.reduce(0, +), expected.count)
    }

    func testTheOverlayHasTheSizeOfThePhoto() throws {
        let picture = try goldenPicture().upright(orientation: 6)
        let overlay = try XCTUnwrap(Segmenter().segment(picture).overlay())
        XCTAssertEqual(overlay.width, @GOLDEN_HEIGHT@)
        XCTAssertEqual(overlay.height, @GOLDEN_WIDTH@)
    }

    func testABadPictureIsRefused() {
        XCTAssertThrowsError(try Picture(rgba: [0, 0, 0], width: 1, height: 1)) { error in
            XCTAssertTrue(error.localizedDescription.contains("Give four for each pixel"))
        }
    }
}

/// A file of the golden pair.
func golden(_ name: String) throws -> [UInt8] {
    let url = Bundle.module.url(forResource: name, withExtension: nil, subdirectory: "golden")
    return [UInt8](try Data(contentsOf: XCTUnwrap(url)))
}

func goldenPicture() throws -> Picture {
    let samples = try golden("image.bin")
    let bands = @CHANNELS@
    var rgba = [UInt8](repeating: 255, count: samples.count / bands * 4)
    for pixel in 0..<samples.count / bands {
        for band in 0..<3 {
            rgba[4 * pixel + band] = samples[pixel * bands + band % bands]
        }
    }
    return try Picture(rgba: rgba, width: @GOLDEN_WIDTH@, height: @GOLDEN_HEIGHT@)
}
