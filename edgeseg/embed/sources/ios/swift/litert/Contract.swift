/// How resized pixels, 0...255, become what the network was trained on.
enum Normalization {
    /// Stretches each picture from its own extremes, over all its channels, to `low`...`high`.
    case minMax(low: Double, high: Double)
    /// (pixel / 255 - mean) / std, by channel.
    case meanStd(mean: [Float], std: [Float])
}

/// What a network takes and gives, as numbers; `contract.json` says the same in words.
struct NetworkContract {
    /// Of the input: 3 for red, green, blue, 1 for grey.
    let channels: Int
    /// Rows and columns of both tensors.
    let height: Int
    let width: Int
    /// Whether the input holds the channels of a pixel side by side (NHWC), not planes (NCHW).
    let channelsLast: Bool
    let normalization: Normalization
    /// Of the output: 1 for the probability of the second class, else one for each class.
    let maskChannels: Int
    let maskChannelsLast: Bool
    /// Least probability of the second class, where `maskChannels` is 1.
    let threshold: Float
}

/// Prepares pictures for a network and brings its probabilities back to their size.
///
/// This is what the network was trained with, in plain Swift. Do not replace the resize by one of
/// Core Graphics or vImage: it computes something else where a picture shrinks, and masks change.
/// One thread at a time.
final class Contract {
    private let network: NetworkContract
    private var rowsIn = LastTaps()
    private var columnsIn = LastTaps()
    private var rowsOut = LastTaps()
    private var columnsOut = LastTaps()

    init(_ network: NetworkContract) {
        self.network = network
    }

    /// The input tensor of a picture.
    func prepare(_ picture: Picture) -> [Float] {
        let rows = rowsIn.taps(from: picture.height, to: network.height)
        let columns = columnsIn.taps(from: picture.width, to: network.width)
        let channels = network.channels
        let plane = network.height * network.width
        var line = [Float](repeating: 0, count: channels * picture.width)  // a row of each channel
        var planes = [Float](repeating: 0, count: channels * plane)
        for row in 0..<network.height {
            line.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
            for tap in rows.range(of: row) {
                add(picture, row: rows.source(row, tap), weight: rows.weights[tap], to: &line)
            }
            for channel in 0..<channels {
                columns.resize(
                    line, from: channel * picture.width, into: &planes,
                    at: channel * plane + row * network.width)
            }
        }
        normalize(&planes)
        return network.channelsLast ? sideBySide(planes) : planes
    }

    /// The label map of a picture of any size, row by row, of the output tensor.
    ///
    /// Probabilities, not labels, are resized, so that edges stay smooth. They need no sigmoid and
    /// no softmax.
    ///
    /// - Throws: `SegmenterError.noMask` where a probability is NaN or infinite.
    func restore(_ probabilities: [Float], width: Int, height: Int) throws -> [UInt8] {
        let channels = network.maskChannels
        guard probabilities.count == channels * network.height * network.width,
            probabilities.allSatisfy({ $0.isFinite })
        else {
            throw SegmenterError.noMask(
                "The network gives no probabilities for this picture. Show no mask, and report it.")
        }
        let rows = rowsOut.taps(from: network.height, to: height)
        let columns = columnsOut.taps(from: network.width, to: width)
        var line = [Float](repeating: 0, count: channels * network.width)
        var values = [Float](repeating: 0, count: channels * width)
        var labels = [UInt8](repeating: 0, count: width * height)
        for row in 0..<height {
            line.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
            for tap in rows.range(of: row) {
                let weight = rows.weights[tap]
                add(probabilities, row: rows.source(row, tap), weight: weight, to: &line)
            }
            for channel in 0..<channels {
                columns.resize(
                    line, from: channel * network.width, into: &values, at: channel * width)
            }
            label(&values, into: &labels, at: row * width, width: width)
        }
        return labels
    }

    /// Adds a row of the picture to `line`, which holds a row of each channel.
    private func add(_ picture: Picture, row: Int, weight: Float, to line: inout [Float]) {
        let width = picture.width
        let start = 4 * row * width
        for x in 0..<width {
            let red = picture.rgba[start + 4 * x]
            let green = picture.rgba[start + 4 * x + 1]
            let blue = picture.rgba[start + 4 * x + 2]
            if network.channels == 1 {
                line[x] += weight * grey(red, green, blue)
            } else {
                line[x] += weight * Float(red)
                line[width + x] += weight * Float(green)
                line[2 * width + x] += weight * Float(blue)
            }
        }
    }

    /// Brightness by ITU-R BT.601, rounded to a whole number.
    private func grey(_ red: UInt8, _ green: UInt8, _ blue: UInt8) -> Float {
        Float((19595 * Int(red) + 38470 * Int(green) + 7471 * Int(blue) + 32768) >> 16)
    }

    private func normalize(_ pixels: inout [Float]) {
        switch network.normalization {
        case .minMax(let low, let high):
            let least = pixels.min() ?? 0
            let most = pixels.max() ?? 0
            let gain = most > least ? Float((high - low) / (Double(most) - Double(least))) : 0
            for index in pixels.indices {
                pixels[index] = (pixels[index] - least) * gain + Float(low)
            }
        case .meanStd(let mean, let std):
            for index in pixels.indices {
                let channel = index / (network.height * network.width)
                pixels[index] = (pixels[index] / 255 - mean[channel]) / std[channel]
            }
        }
    }

    private func sideBySide(_ planes: [Float]) -> [Float] {
        let channels = network.channels
        let plane = network.height * network.width
        return planes.indices.map { planes[$0 % channels * plane + $0 / channels] }
    }

    /// Adds a row of the output tensor to `line`, which holds a row for each channel.
    private func add(_ tensor: [Float], row: Int, weight: Float, to line: inout [Float]) {
        let width = network.width
        let isLast = network.maskChannelsLast
        let step = isLast ? network.maskChannels : 1
        for channel in 0..<network.maskChannels {
            var place = row * width * step + channel * (isLast ? 1 : network.height * width)
            for x in channel * width..<(channel + 1) * width {
                line[x] += weight * tensor[place]
                place += step
            }
        }
    }

    /// Labels a row of pixels, of which `values` holds a row for each channel.
    private func label(
        _ values: inout [Float], into labels: inout [UInt8], at place: Int, width: Int
    ) {
        if network.maskChannels == 1 {
            for x in 0..<width {
                labels[place + x] = values[x] >= network.threshold ? 1 : 0
            }
            return
        }
        for channel in 1..<network.maskChannels {
            for x in 0..<width where values[channel * width + x] > values[x] {
                // The first row becomes the largest so far.
                values[x] = values[channel * width + x]
                labels[place + x] = UInt8(channel)
            }
        }
    }
}

/// The weighted means that make a line of `size` samples from one of `from`.
///
/// Sample i lies at i + 0.5. Its weights are a triangle, one source sample wide to either side
/// where the line grows, and as wide as the scale where it shrinks.
private struct Taps {
    let from: Int
    let size: Int
    private(set) var weights: [Float] = []
    private var first: [Int] = []
    private var start: [Int] = [0]

    init(from: Int, to size: Int) {
        self.from = from
        self.size = size
        let scale = Double(from) / Double(size)
        // A line that keeps its length is copied.
        let support = from == size ? 0.5 : max(scale, 1)
        for index in 0..<size {
            let centre = (Double(index) + 0.5) * scale
            let begin = max(Int(centre - support + 0.5), 0)
            let end = min(Int(centre + support + 0.5), from)
            let triangle = (begin..<end).map { sample -> Double in
                max(1 - abs(Double(sample) + 0.5 - centre) / support, 0)
            }
            let sum = triangle.reduce(0, +)
            weights += triangle.map { Float($0 / sum) }
            first.append(begin)
            start.append(weights.count)
        }
    }

    /// The weights of sample `index`.
    func range(of index: Int) -> Range<Int> {
        start[index]..<start[index + 1]
    }

    /// Makes the line that lies in `to` from `place` on of the one in `line` from `begin` on.
    func resize(_ line: [Float], from begin: Int, into to: inout [Float], at place: Int) {
        for index in 0..<size {
            var sum: Float = 0
            var source = begin + first[index]
            for tap in range(of: index) {
                sum += weights[tap] * line[source]
                source += 1
            }
            to[place + index] = sum
        }
    }

    /// The source sample of a weight of sample `index`.
    func source(_ index: Int, _ tap: Int) -> Int {
        first[index] + tap - start[index]
    }
}

/// The taps of the size that was asked for last; pictures of a camera all have one size.
private struct LastTaps {
    private var last: Taps?

    mutating func taps(from: Int, to size: Int) -> Taps {
        if let last, last.from == from, last.size == size {
            return last
        }
        let made = Taps(from: from, to: size)
        last = made
        return made
    }
}
