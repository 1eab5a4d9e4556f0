"""The Swift package: what is written, and that a grammar understands it. Nothing compiles it."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kit_bundle import IMAGE, compile_native, write_litert_bundle
from kit_bundle import write_native_bundle as native_bundle
from sharing import make_once, one_worker_at_a_time
from small_bundle import INPUTS
from support import needs
from swift_syntax import swift_faults
from vectors import contract_record

from edgeseg.bundle.bundle import list_files
from edgeseg.embed.embed import embed_bundle
from edgeseg.embed.phones.ios import swift_contract
from edgeseg.errors import TargetError
from edgeseg.records import Artifact

needs_grammar = needs("tree_sitter", "tree_sitter_swift")
MODULE = "EdgesegMynet2"


def ios_kit(bundle: Path, folder: Path) -> Path:
    return embed_bundle(bundle, "ios", folder).folder


@pytest.fixture(scope="session")
def litert_kit(shared_folder: Path) -> Path:
    def make(folder: Path) -> None:
        ios_kit(write_litert_bundle(folder.with_name("ios-litert-bundle")), folder)

    return make_once(shared_folder, "ios-litert-kit", make)


@pytest.fixture(scope="session")
def apple_artifact(shared_folder: Path) -> Artifact:
    """A user's network of three classes for iPhones, Macs and this machine."""
    for package in ("onnx", "onnx_ir", "onnxruntime", "ziglang"):
        pytest.importorskip(package)
    options = {"prefix": "my_net", "static": "true"}
    with one_worker_at_a_time(shared_folder, "apple-artifact"):
        return compile_native(shared_folder / "apple", "here+ios+macos", **options)


@pytest.fixture(scope="session")
def native_kit(apple_artifact: Artifact, shared_folder: Path) -> Path:
    def make(folder: Path) -> None:
        ios_kit(native_bundle(folder.with_name("ios-native-bundle"), apple_artifact), folder)

    return make_once(shared_folder, "ios-native-kit", make)


def files_of(kit: Path) -> set[str]:
    return {path.relative_to(kit).as_posix() for path in kit.rglob("*") if path.is_file()}


def require_whole(kit: Path) -> None:
    """Swift that the grammar understands, texts without gaps, and an honest README."""
    swift = sorted(kit.rglob("*.swift"))
    assert len(swift) >= 7
    assert swift_faults(swift) == []
    texts = [*swift, *kit.rglob("*.md"), *kit.rglob("module.modulemap")]
    assert [path for path in texts if re.search(r"@[A-Z_]+@", path.read_text())] == []
    long = [path for path in swift for line in path.read_text().splitlines() if len(line) > 100]
    assert long == []
    readme = (kit / "README.md").read_text()
    assert "not a medical device" in readme
    assert "neither compiled nor run" in " ".join(readme.split())
    assert len(readme.splitlines()) <= 60
    parity = json.loads((kit / "embed.json").read_text())["parity"]
    assert (parity["status"], "not compiled" in parity["reason"]) == ("not run here", True)


@needs_grammar
def test_a_litert_kit(litert_kit: Path) -> None:
    require_whole(litert_kit)
    code, tests = f"Sources/{MODULE}", f"Tests/{MODULE}Tests"
    assert files_of(litert_kit) >= {
        *("Package.swift", "README.md", "contract.json"),
        *(f"{code}/{name}.swift" for name in ("Contract", "LiteRTEngine", "Segmenter", "Network")),
        f"{code}/Resources/model.tflite",
        *(f"{tests}/golden/{name}.bin" for name in ("image", "labels", "tensor", "probabilities")),
    }
    tensor = np.fromfile(litert_kit / tests / "golden" / "tensor.bin", "<f4")
    expected = INPUTS.prepare(IMAGE)[0].transpose(1, 2, 0)  # the artefact is NHWC
    assert (tensor == expected.ravel()).all()
    package = (litert_kit / "Package.swift").read_text()
    assert "swift-tools-version: 5.9" in package
    assert '.copy("Resources/model.tflite")' in package


@needs_grammar
def test_a_native_kit(native_kit: Path) -> None:
    require_whole(native_kit)
    assert not list(native_kit.rglob("Contract.swift"))  # C does that
    engine = (native_kit / "Sources" / MODULE / "NativeEngine.swift").read_text()
    assert f"import C{MODULE}" in engine
    assert "my_net_run_pixels(" in engine
    assert "MY_NET_RGBA" in engine
    framework = native_kit / f"C{MODULE}.xcframework"
    record = plistlib.loads((framework / "Info.plist").read_bytes())
    slices = {one["SupportedPlatform"]: one for one in record["AvailableLibraries"]}
    assert set(slices) == {"ios", "macos"}
    for one in slices.values():
        folder = framework / one["LibraryIdentifier"]
        assert (folder / one["LibraryPath"]).read_bytes().startswith(b"!<arch>\n")
        assert {path.name for path in (folder / one["HeadersPath"] / f"C{MODULE}").iterdir()} == {
            "my_net.h",
            "module.modulemap",
        }
    assert ".macOS(.v12)" in (native_kit / "Package.swift").read_text()


def test_the_libraries_are_for_the_systems_that_packages_ask_for(native_kit: Path) -> None:
    """Each object says so in a load command: its platform and the version of the system."""
    for name, platform, version in (("ios", 2, 15), ("macos", 1, 12)):
        (archive,) = native_kit.rglob(f"network-{name}.a")
        command = rb"\x32\0\0\0.\0\0\0" + bytes([platform, 0, 0, 0, 0, 0]) + bytes([version, 0])
        assert re.search(command, archive.read_bytes(), re.DOTALL), name


def test_c_is_imported_as_a_module(native_kit: Path, tmp_path: Path) -> None:
    (tmp_path / "use.m").write_text(
        f"@import C{MODULE};\nint use(void) {{ return my_net_version() + MY_NET_RGBA; }}\n"
    )
    headers = native_kit / f"C{MODULE}.xcframework" / "ios-arm64" / "Headers"
    command = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-ios.15.0", "-ffreestanding"),
        *("-x", "objective-c", "-fmodules", f"-fmodules-cache-path={tmp_path}", "-Wall", "-Werror"),
        *("-I", headers, "-c", tmp_path / "use.m", "-o", tmp_path / "use.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_library_for_macs_the_package_is_for_phones(
    apple_artifact: Artifact, tmp_path: Path
) -> None:
    bundle = native_bundle(tmp_path / "bundle", apple_artifact)
    keep_libraries(bundle, "linux", "ios")
    kit = ios_kit(bundle, tmp_path / "kit")
    package = (kit / "Package.swift").read_text()
    assert ".iOS(.v15)" in package
    assert "macOS" not in package
    assert "--option isa=here+ios+macos" in (kit / "README.md").read_text()


def test_a_bundle_without_a_library_for_phones_is_refused(
    apple_artifact: Artifact, tmp_path: Path
) -> None:
    bundle = native_bundle(tmp_path / "bundle", apple_artifact)
    keep_libraries(bundle, "linux")
    with pytest.raises(TargetError, match=r"no library for iPhones.* --option isa=here\+ios\."):
        ios_kit(bundle, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def keep_libraries(bundle: Path, *systems: str) -> None:
    """Leave the libraries of these systems only, in the list and in the manifest."""
    path = bundle / "artifact" / "network.json"
    contents = json.loads(path.read_text())
    contents["libraries"] = [one for one in contents["libraries"] if one["system"] in systems]
    path.write_text(json.dumps(contents))
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").unlink()
    manifest["files"] = [one.model_dump() for one in list_files(bundle)]
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("openvino", r"--ios cannot embed: OpenVINO has no .* Build with --target android\."),
        ("onnxruntime", r"--ios cannot embed: .* Build with --target android\."),
    ],
)
def test_another_runtime_is_refused(tmp_path: Path, runtime: str, words: str) -> None:
    bundle = write_litert_bundle(tmp_path / "bundle", runtime=runtime)
    with pytest.raises(TargetError, match=words):
        ios_kit(bundle, tmp_path / "kit")


def test_the_contract_as_swift() -> None:
    record = contract_record("normed")
    text = swift_contract(record)
    how = record["input"]["normalization"]
    mean, std = (", ".join(map(repr, how[key])) for key in ("mean", "std"))
    assert f"normalization: .meanStd(mean: [{mean}], std: [{std}])" in text
    assert ".minMax(low: 0.0, high: 1.0)" in swift_contract(contract_record("grey"))


@needs_grammar
def test_the_grammar_finds_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "Broken.swift"
    broken.write_text("func f(_ a: Int) -> Int {\n    return a +\n}\n")
    assert swift_faults([broken])
