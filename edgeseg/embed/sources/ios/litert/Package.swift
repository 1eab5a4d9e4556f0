// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "@MODULE@",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "@MODULE@", targets: ["@MODULE@"])],
    dependencies: [
        // By its branch: it sets flags of the linker, which a package taken by version may not do.
        .package(url: "https://github.com/google-ai-edge/LiteRT", branch: "release/2.3.0")
    ],
    targets: [
        .target(
            name: "@MODULE@",
            dependencies: [.product(name: "LiteRT", package: "LiteRT")],
            resources: [.copy("Resources/@MODEL_FILE@")]),
        .testTarget(
            name: "@MODULE@Tests",
            dependencies: ["@MODULE@"],
            resources: [.copy("golden")]),
    ]
)
