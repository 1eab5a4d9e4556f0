// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "@MODULE@",
    platforms: [@PLATFORMS@],
    products: [.library(name: "@MODULE@", targets: ["@MODULE@"])],
    targets: [
        .binaryTarget(name: "@C_MODULE@", path: "@C_MODULE@.xcframework"),
        .target(
            name: "@MODULE@",
            dependencies: ["@C_MODULE@"],
            resources: [.copy("Resources/@WEIGHTS@")]),
        .testTarget(
            name: "@MODULE@Tests",
            dependencies: ["@MODULE@"],
            resources: [.copy("golden")]),
    ]
)
