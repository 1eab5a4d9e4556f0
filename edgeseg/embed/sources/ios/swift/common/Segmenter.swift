import Foundation

/// What went wrong, and what to do.
public enum SegmenterError: Error, LocalizedError, Sendable {
    /// The picture cannot be taken.
    case badPicture(String)
    /// The network does not load.
    case badNetwork(String)
    /// The network gives no mask for this picture.
    case noMask(String)

    public var errorDescription: String? {
        switch self {
        case .badPicture(let text), .badNetwork(let text), .noMask(let text): return text
        }
    }
}

/// Segments pictures with the network @MODEL@. It is not a medical device.
///
/// Opening takes a while and memory: keep one. Threads may share it; they take turns. Call it from
/// the background, since a picture takes several frames of the screen.
public final class Segmenter: @unchecked Sendable {
    private let engine: Engine
    private let lock = NSLock()

    /// Loads the network from the package's resources.
    ///
    /// - Throws: `SegmenterError.badNetwork` where a file is missing or damaged.
    public init() throws {
        engine = try Engine()
    }

    /// Finds the class of each pixel of a picture.
    ///
    /// - Throws: `SegmenterError.noMask` where the network gives no numbers.
    public func segment(_ picture: Picture) throws -> Segmentation {
        lock.lock()
        defer { lock.unlock() }
        return try engine.segment(picture)
    }
}

/// The file of that name among the package's resources.
func resource(_ name: String) throws -> URL {
    guard let url = Bundle.module.url(forResource: name, withExtension: nil) else {
        throw SegmenterError.badNetwork("\(name) is not in the app. Add the whole package to it.")
    }
    return url
}

/// Milliseconds since `start`, which `DispatchTime.now()` gave.
func milliseconds(since start: DispatchTime) -> Double {
    Double(DispatchTime.now().uptimeNanoseconds - start.uptimeNanoseconds) / 1e6
}
