"""The Android module of a compiled network, which is run here by way of JNI."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from android_kits import C_OPTIONS, android_kit, compile_jni, java_includes, kit_sources, run_native
from kit_bundle import NATIVE_INPUTS, OUTPUTS, compile_native, write_native_bundle
from kotlin_compiler import PROGRAMS, Kotlin
from sharing import make_once, one_worker_at_a_time

from edgeseg.bundle.bundle import open_bundle
from edgeseg.embed.phones.android_native import phone_libraries
from edgeseg.embed.surface import Kit
from edgeseg.errors import TargetError
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime


@pytest.fixture(scope="session")
def native_artifact(shared_folder: Path) -> Artifact:
    """A user's network of three classes for phones, emulators and this machine."""
    for package in ("onnx", "onnx_ir", "onnxruntime", "ziglang"):
        pytest.importorskip(package)
    if platform.machine() != "x86_64":
        pytest.skip("its library for emulators runs on x86-64 only")
    with one_worker_at_a_time(shared_folder, "native-artifact"):
        return compile_native(shared_folder / "native", "x86-64-v2+aarch64", prefix="my_net")


@pytest.fixture(scope="session")
def native_kit(native_artifact: Artifact, shared_folder: Path) -> Path:
    def make(folder: Path) -> None:
        android_kit(write_native_bundle(folder.with_name("native-bundle"), native_artifact), folder)

    return make_once(shared_folder, "native-kit", make)


@pytest.fixture(scope="session")
def native_program(kotlin: Kotlin, stubs: Path, native_kit: Path, shared_folder: Path) -> Path:
    """Classes of that kit, of its test and of what segments pictures."""

    def make(classes: Path) -> None:
        programs = [PROGRAMS / name for name in ("RunTests.kt", "Masks.kt")]
        kotlin.compile([*kit_sources(native_kit), *programs], classes, [stubs])

    return make_once(shared_folder, "native-program", make)


@pytest.fixture(scope="session")
def jni_library(native_kit: Path, shared_folder: Path) -> Path:
    """Folder of the libraries that an emulator would load."""
    return make_once(shared_folder, "jni-library", lambda path: compile_jni(native_kit, path))


@pytest.mark.slow
def test_the_test_of_a_native_kit_passes(
    kotlin: Kotlin, stubs: Path, native_kit: Path, native_program: Path, jni_library: Path
) -> None:
    done = run_native(
        kotlin,
        native_kit,
        jni_library,
        *("RunTestsKt", "edgeseg.mynet2.GoldenTest"),
        path=[native_program, stubs],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("passed ") == 3
    assert "WARNING" not in done.stdout + done.stderr  # of the Java machine, about the C


@pytest.mark.slow
def test_masks_of_a_native_kit_are_pythons(
    kotlin: Kotlin,
    stubs: Path,
    native_kit: Path,
    native_artifact: Artifact,
    native_program: Path,
    jni_library: Path,
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(8)
    coarse = random.integers(0, 256, (40, 40, 3), np.uint8)
    sizes = [(48, 72), (301, 97), (1, 1), (7, 260), (500, 400)]
    images = {
        f"p{width}": np.kron(coarse, np.ones((13, 13, 1), np.uint8))[:height, :width]
        for height, width in sizes
    }
    for name, image in images.items():
        (tmp_path / f"{name}.{image.shape[0]}.{image.shape[1]}").write_bytes(image.tobytes())
    run = "edgeseg.mynet2.MasksKt", str(tmp_path)
    done = run_native(kotlin, native_kit, jni_library, *run, path=[native_program, stubs])
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    backend = find_runtime("native", {}).load(native_artifact)
    for name, image in images.items():
        expected = OUTPUTS.restore(backend.run(NATIVE_INPUTS.prepare(image)), *image.shape[:2])
        labels = np.fromfile(tmp_path / f"{name}.labels", np.uint8).reshape(expected.shape)
        assert (labels != expected).sum() == 0, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("weights", r"network\.weights: .*\. Build the app again from the whole kit\."),
        ("assets", r"network\.weights is not in the app\. Build it again from the whole kit\."),
        ("library", r"libedgeseg_mynet2_x86_64_v2\.so: .* Build the app again"),
        ("jni", r"no library for this phone\. It must be one of arm64-v8a and x86_64\."),
    ],
)
def test_damage_is_told(
    kotlin: Kotlin,
    stubs: Path,
    native_kit: Path,
    native_program: Path,
    jni_library: Path,
    tmp_path: Path,
    damage: str,
    words: str,
) -> None:
    kit, libraries = tmp_path / "kit", tmp_path / "libraries"
    shutil.copytree(native_kit, kit)
    shutil.copytree(jni_library, libraries)
    if damage == "weights":
        (weights,) = kit.rglob("network.weights")
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "assets":
        shutil.rmtree(kit / "edgeseg" / "src" / "main" / "assets")
    elif damage == "library":
        (libraries / "libedgeseg_mynet2_x86_64_v2.so").unlink()
    else:
        (libraries / "libedgeseg_mynet2.so").unlink()
    run = "edgeseg.mynet2.MasksKt", str(tmp_path)
    done = run_native(kotlin, kit, libraries, *run, path=[native_program, stubs])
    assert done.returncode == 0, done.stderr
    assert re.search(words, done.stdout)


def test_the_c_of_a_native_kit_is_clean_for_phones(native_kit: Path, tmp_path: Path) -> None:
    """Its part for ARM64 is not run here."""
    if shutil.which("javac") is None:
        pytest.skip("no jni.h")
    source = native_kit / "edgeseg" / "src" / "main" / "cpp" / "edgeseg_jni.c"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.31"]
    done = subprocess.run(
        [*command, *C_OPTIONS, "-c", *java_includes(), source, "-o", tmp_path / "jni.o"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "libedgeseg_mynet2_aarch64.so" in source.read_text()


def test_the_better_library_of_a_phone_is_tried_first(
    native_artifact: Artifact, tmp_path: Path
) -> None:
    """Also of older bundles, which named it second."""
    bundle = write_native_bundle(tmp_path / "bundle", native_artifact)
    path = bundle / "artifact" / "network.json"
    contents = json.loads(path.read_text())
    (plain,) = (one for one in contents["libraries"] if one["isa"] == "aarch64")
    better = {**plain, "isa": "aarch64-dotprod", "flags": ["asimd", "asimddp"]}
    contents["libraries"].append(better)
    path.write_text(json.dumps(contents))
    libraries = phone_libraries(Kit(open_bundle(bundle)), "net")
    assert [(one.abi, one.needs) for one in libraries] == [
        ("arm64-v8a", "PRODUCTS_OF_BYTES"),
        ("arm64-v8a", "0"),
        ("x86_64", "0"),
    ]


def test_a_bundle_without_a_library_for_phones_is_refused(
    native_artifact: Artifact, tmp_path: Path
) -> None:
    bundle = write_native_bundle(tmp_path / "bundle", native_artifact)
    path = bundle / "artifact" / "network.json"
    contents = json.loads(path.read_text())
    contents["libraries"] = contents["libraries"][:1]
    path.write_text(json.dumps(contents))
    with pytest.raises(TargetError, match=r"no library for phones\. Build it with --target"):
        android_kit(bundle, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_libraries_of_an_older_version_are_refused(
    native_artifact: Artifact, tmp_path: Path
) -> None:
    bundle = write_native_bundle(tmp_path / "bundle", native_artifact)
    header = bundle / "artifact" / "my_net.h"
    header.write_text(header.read_text().replace("my_net_run_pixels(", "my_net_run_other("))
    with pytest.raises(TargetError, match=r"lack my_net_run_pixels.* Build the bundle again\."):
        android_kit(bundle, tmp_path / "kit")
