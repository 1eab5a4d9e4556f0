import XCTest

@testable import @MODULE@

/// Compares the contract with what Python computed from the golden picture.
final class ContractTests: XCTestCase {
    func testAPictureBecomesTheTensor() throws {
        let expected = try floats("tensor.bin")
        let tensor = Contract(Network.contract).prepare(try goldenPicture())
        XCTAssertEqual(tensor.count, expected.count)
        let scale = max(1, expected.map(abs).max() ?? 0)
        let worst = zip(tensor, expected).map { abs($0 - $1) }.max() ?? .infinity
        XCTAssertLessThanOrEqual(worst / scale, 1e-5)
    }

    func testProbabilitiesBecomeTheLabels() throws {
        let expected = try golden("labels.bin")
        let labels = try Contract(Network.contract).restore(
            floats("probabilities.bin"), width: @GOLDEN_WIDTH@, height: @GOLDEN_HEIGHT@)
        XCTAssertEqual(labels.count, expected.count)
        let flips = zip(labels, expected).filter { $0 != $1 }.count
        XCTAssertLessThanOrEqual(Double(flips) * 1e4 / Double(expected.count), 1)
    }

    /// 32 bits, the low byte first, as all Apple machines have it.
    private func floats(_ name: String) throws -> [Float] {
        try golden(name).withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 4).map {
                bytes.loadUnaligned(fromByteOffset: $0, as: Float.self)
            }
        }
    }
}
