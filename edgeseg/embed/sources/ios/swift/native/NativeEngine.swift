import Foundation
import @C_MODULE@

/// Runs the network's own library, which prepares pictures and restores masks, too. One thread at a
/// time.
final class Engine {
    private let memory: UnsafeMutableRawPointer
    private let weights: UnsafeMutableRawPointer
    private let network: OpaquePointer

    init() throws {
        let file = try Data(contentsOf: resource(Network.file))
        let size = @PREFIX@_memory_bytes(1)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
        let weights = UnsafeMutableRawPointer.allocate(byteCount: file.count, alignment: 64)
        file.copyBytes(to: UnsafeMutableRawBufferPointer(start: weights, count: file.count))
        var opened: OpaquePointer?
        let code = @PREFIX@_create(memory, size, 1, weights, file.count, &opened)
        guard let network = opened else {
            memory.deallocate()
            weights.deallocate()
            throw SegmenterError.badNetwork(
                "\(Network.file): \(Engine.text(of: code)). Add the whole package again.")
        }
        (self.memory, self.weights, self.network) = (memory, weights, network)
    }

    deinit {
        @PREFIX@_destroy(network)
        memory.deallocate()
        weights.deallocate()
    }

    func segment(_ picture: Picture) throws -> Segmentation {
        let start = DispatchTime.now()
        var labels = [UInt8](repeating: 0, count: picture.width * picture.height)
        let code = @PREFIX@_run_pixels(
            network, picture.rgba, Int32(@PREFIX_UPPER@_RGBA), Int32(picture.height),
            Int32(picture.width), 0, &labels, nil)
        guard code == Int32(@PREFIX_UPPER@_OK) else {
            throw SegmenterError.noMask(Engine.text(of: code))
        }
        return Segmentation(
            labels: labels, width: picture.width, height: picture.height, classes: Network.classes,
            times: Times(
                prepare: nil, network: nil, restore: nil, total: milliseconds(since: start)))
    }

    private static func text(of code: Int32) -> String {
        String(cString: @PREFIX@_error_text(code))
    }
}
