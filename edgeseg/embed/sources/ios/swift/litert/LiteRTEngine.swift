import Foundation
import LiteRT

/// Runs the network with LiteRT; the contract is `Contract`'s. One thread at a time.
final class Engine {
    private let contract = Contract(Network.contract)
    private let model: CompiledModel
    private let inputs: [TensorBuffer]
    private let outputs: [TensorBuffer]

    init() throws {
        let file = try resource(Network.file)
        do {
            // The processor, since a GPU computes with less precision: its masks were not compared.
            let options = try Options()
            try options.setHardwareAccelerators([.cpu])
            model = try CompiledModel(
                filePath: file.path, environment: LiteRT.Environment(), options: options)
            inputs = try model.createInputBuffers()
            outputs = try model.createOutputBuffers()
        } catch {
            throw SegmenterError.badNetwork(
                "LiteRT does not load \(Network.file) (\(error)). Add the whole package again.")
        }
    }

    func segment(_ picture: Picture) throws -> Segmentation {
        let start = DispatchTime.now()
        let tensor = contract.prepare(picture)
        let prepared = milliseconds(since: start)
        try inputs[0].write(tensor)
        try model.run(inputs: inputs, outputs: outputs)
        let probabilities: [Float] = try outputs[0].read()
        let computed = milliseconds(since: start)
        let labels = try contract.restore(
            probabilities, width: picture.width, height: picture.height)
        let total = milliseconds(since: start)
        return Segmentation(
            labels: labels, width: picture.width, height: picture.height, classes: Network.classes,
            times: Times(
                prepare: prepared, network: computed - prepared, restore: total - computed,
                total: total))
    }
}
