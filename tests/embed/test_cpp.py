"""C++ projects of bundles: built by CMake, with the masks that Python gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_projects import RUNTIMES, SAMPLE, build_small, masks, segment, write_ppm
from small_bundle import write_small_bundle
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.embed.cpp import CppSurface, _native_values, build, run_golden
from edgeseg.embed.native_contents import NativeContents, NativeVariant
from edgeseg.embed.surface import Kit
from edgeseg.embed.writer import write_kit
from edgeseg.errors import TargetError

IMAGES = 6
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror"
INSTALL = "tests/install_debian_packages.sh"


@pytest.fixture(autouse=True)
def _tools() -> None:
    for program in ("cmake", "g++"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: {INSTALL}")


@pytest.fixture(scope="module", params=RUNTIMES)
def project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """A bundle, its project and where that was built."""
    runtime = request.param
    packages = {"openvino": "openvino", "litert": "ai_edge_litert"}
    for package in ("torch", "onnxscript", "onnxruntime", packages.get(runtime, "onnx_ir")):
        pytest.importorskip(package)
    if runtime == "litert":
        pytest.importorskip("onnx2tf")
    folder = tmp_path_factory.mktemp(f"cpp-{runtime}")
    bundle = build_small(runtime, folder / "bundle")
    write_kit(Kit(open_bundle(bundle)), CppSurface(), folder / "kit", check=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFLAGS", STRICT)
        patch.setenv("CXXFLAGS", STRICT)
        build(folder / "kit", folder / "made")
    return bundle, folder / "kit", folder / "made"


def test_masks_are_those_of_python(project: tuple[Path, Path, Path], tmp_path: Path) -> None:
    images = sorted(SAMPLE.glob("*.jpg"))[:IMAGES]
    assert len(images) == IMAGES
    found = 0
    for image in images:
        given, wanted = masks(*project, image, tmp_path)
        assert (given != wanted).sum() == 0, image.name
        found += int(wanted.sum())
    assert found > 0


def test_the_golden_test_passes_and_says_how_far(project: tuple[Path, Path, Path]) -> None:
    _, kit, made = project
    parity = run_golden(kit, made / "golden_test", "here")
    assert parity.flips_per_10k == 0
    assert parity.max_abs_diff is not None
    assert parity.max_abs_diff < 1e-3
    assert parity.milliseconds is not None
    assert parity.milliseconds > 0
    done = subprocess.run(["ctest"], cwd=made, capture_output=True, text=True, check=False)
    assert "100% tests passed" in done.stdout


def test_a_wrong_golden_mask_is_told(project: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, kit, made = project
    shutil.copytree(kit / "golden", tmp_path / "golden")
    shutil.copytree(kit / "model", tmp_path / "model")
    labels = np.fromfile(tmp_path / "golden" / "labels.bin", np.uint8)
    (tmp_path / "golden" / "labels.bin").write_bytes((1 - labels).tobytes())
    with pytest.raises(TargetError, match=r"another mask than the bundle.*Run edgeseg verify"):
        run_golden(tmp_path, made / "golden_test", "here")
    (tmp_path / "golden" / "labels.bin").unlink()
    with pytest.raises(TargetError, match=r"labels\.bin is missing or cut short"):
        run_golden(tmp_path, made / "golden_test", "here")


def test_damaged_and_missing_files_are_told(
    project: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, kit, made = project
    picture = write_ppm(tmp_path / "picture.ppm", np.full((20, 30, 3), 90, np.uint8))
    used = {"model.xml", "model.bin", "model.tflite", "model.onnx", "network.weights"}
    names = [path.name for path in (kit / "model").iterdir()]
    for name in names:
        if name not in used and not name.endswith(".so"):
            continue
        for damage in ("flip", "cut", "gone"):
            model = tmp_path / f"{name}-{damage}"
            shutil.copytree(kit / "model", model)
            content = bytearray((model / name).read_bytes())
            content[len(content) // 2] ^= 1
            if damage == "flip":
                (model / name).write_bytes(content)
            elif damage == "cut":
                (model / name).write_bytes(content[:-10])
            else:
                (model / name).unlink()
            done = segment(made, picture, tmp_path / "mask.pgm", model)
            wanted = "There is no file" if damage == "gone" else "is damaged or of another kit"
            assert done.returncode == 1, (name, damage)
            assert wanted in done.stderr
            assert not (tmp_path / "mask.pgm").exists()


def test_bad_pictures_are_told(project: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, kit, made = project
    mask, model = tmp_path / "mask.pgm", kit / "model"
    cases = {
        "text.ppm": (b"hello", "is neither PPM nor PGM"),
        "short.ppm": (b"P6\n4 4\n255\nabc", "is cut short"),
        "deep.ppm": (b"P6\n1 1\n65535\nabcdef", "has not 8 bits"),
        "huge.ppm": (b"P6\n9000 1\n255\n", "sides are not 1 to 8192"),
        "none.ppm": (b"P6\n0 1\n255\n", "sides are not 1 to 8192"),
        "head.ppm": (b"P6\n", "head is cut short"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        done = segment(made, tmp_path / name, mask, model)
        assert (done.returncode, reason in done.stderr) == (1, True), (name, done.stderr)
    done = segment(made, tmp_path / "gone.ppm", mask, model)
    assert (done.returncode, "There is no file" in done.stderr) == (1, True)
    assert segment(made).returncode == 2
    grey = write_ppm(tmp_path / "grey.pgm", np.full((9, 9), 90, np.uint8))
    assert segment(made, grey, mask, model).returncode == 0


CALLS = """
#include <stdio.h>
#include "segmenter.h"
int main(int count, char **words)
{
    static unsigned char pixels[16 * 16 * 4], labels[16 * 16];
    segmenter *network = NULL;
    const int bad = SEGMENTER_BAD_ARGUMENT;
    if (segmenter_open(NULL, 1, &network) != bad) return 10;
    if (segmenter_open(words[1], 0, &network) != bad) return 11;
    if (segmenter_open("nowhere", 1, &network) != SEGMENTER_BAD_MODEL || network) return 12;
    if (segmenter_run(NULL, pixels, 1, 16, 16, 0, labels, NULL) != bad) return 13;
    if (segmenter_open(words[1], 1, &network)) return 14;
    if (segmenter_run(network, NULL, 1, 16, 16, 0, labels, NULL) != bad) return 15;
    if (segmenter_run(network, pixels, 9, 16, 16, 0, labels, NULL) != bad) return 16;
    if (segmenter_run(network, pixels, 1, 16, 16, 5, labels, NULL) != bad) return 17;
    if (segmenter_run(network, pixels, 1, 0, 16, 0, labels, NULL) != bad) return 18;
    puts(segmenter_last_error());
    for (int format = SEGMENTER_RGB; format <= SEGMENTER_GREY; ++format)
        if (segmenter_run(network, pixels, format, 16, 16, 0, labels, NULL)) return 19;
    if (segmenter_run(network, pixels, SEGMENTER_RGB, 16, 16, 0, NULL, NULL)) return 20;
    segmenter_close(network);
    segmenter_close(NULL);
    return count == 2 ? 0 : 21;
}
"""


def test_wrong_calls_get_codes_from_c(project: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """As an application of C would take the kit up, by add_subdirectory."""
    _, kit, _ = project
    (tmp_path / "calls.c").write_text(CALLS)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app LANGUAGES C CXX)\n"
        f"add_subdirectory({kit} kit)\nadd_executable(calls calls.c)\n"
        "target_link_libraries(calls segmenter)\n"
    )
    build(tmp_path, tmp_path / "made")
    done = subprocess.run(
        [tmp_path / "made" / "calls", kit / "model"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.returncode
    assert "A side of the picture is below 1" in done.stdout


@needs("torch", "onnxruntime", "openvino", "nncf")
def test_int8_gives_the_masks_of_its_own_runner(built: dict[str, Path], tmp_path: Path) -> None:
    written = write_kit(Kit(open_bundle(built["int8"])), CppSurface(), tmp_path / "kit")
    assert written.parity.flips_per_10k is not None
    build(tmp_path / "kit", tmp_path / "made")
    places = built["int8"], tmp_path / "kit", tmp_path / "made"
    for image in sorted(SAMPLE.glob("*.jpg"))[:3]:
        given, wanted = masks(*places, image, tmp_path)
        assert (given != wanted).mean() <= 1e-4, image.name


def kit_of(folder: Path, runtime: str, **settings: object) -> Kit:
    """Of a bundle whose manifest says that it is for another runtime."""
    bundle = write_small_bundle(folder / "bundle")
    path = bundle / "manifest.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["runtime"] = runtime
    record["artifact"]["settings"] |= settings
    path.write_text(json.dumps(record), encoding="utf-8")
    return Kit(open_bundle(bundle))


def test_tensorrt_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"tensorrt.*cannot embed: use --jetson"):
        write_kit(kit_of(tmp_path, "tensorrt"), CppSurface(), tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_another_provider_than_the_cpu_is_refused(tmp_path: Path) -> None:
    kit = kit_of(tmp_path, "onnxruntime", provider="CUDAExecutionProvider")
    with pytest.raises(TargetError, match=r"CUDAExecutionProvider.*without --option provider"):
        write_kit(kit, CppSurface(), tmp_path / "kit")


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_a_library_that_is_none_is_told(small_bundles: dict[str, Path], tmp_path: Path) -> None:
    """ONNX Runtime is loaded as the program starts."""
    kit = Kit(open_bundle(small_bundles["fp32"]))
    write_kit(kit, CppSurface(), tmp_path / "kit", check=False)
    for name, reason in (("gone.so", "ONNX Runtime does not load"), ("libm.so.6", "Update it")):
        words = ["cmake", "-S", "kit", "-B", "made", f"-DONNXRUNTIME_LIBRARY={name}"]
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
        subprocess.run(["cmake", "--build", "made"], cwd=tmp_path, check=True, capture_output=True)
        words = [tmp_path / "made" / "golden_test", "kit/model", "kit/golden"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, reason in done.stderr) == (3, True), done.stderr


def test_a_project_that_does_not_build_is_told(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("message(FATAL_ERROR nonsense)\n")
    with pytest.raises(TargetError, match=r"does not build here.*--no-check"):
        build(tmp_path, tmp_path / "made")


def test_what_this_machine_lacks_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = Kit(open_bundle(write_small_bundle(tmp_path / "bundle")))
    monkeypatch.setattr("edgeseg.embed.cpp.is_installed", lambda name: False)
    assert "openvino is not installed" in CppSurface().check(kit, tmp_path).reason
    monkeypatch.setattr("shutil.which", lambda name: None)
    parity = CppSurface().check(kit, tmp_path)
    assert (parity.was_run, parity.reason) == (False, "cmake is not installed")


def test_a_machine_without_a_library_runs_nothing(tmp_path: Path) -> None:
    program = tmp_path / "golden_test"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    assert "no library for this machine" in run_golden(tmp_path, program, "here").reason


def test_libraries_are_chosen_by_what_the_cpu_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeseg.targets.native.isa import SETS

    variants = tuple(
        NativeVariant(
            one.name,
            one.system,
            one.architecture,
            one.flags,
            Path(f"network-{one.name}.so"),
            Path("network.weights"),
        )
        for one in SETS
    )
    contents = NativeContents("edgeseg", variants)
    monkeypatch.setattr("edgeseg.embed.cpp.native_contents", lambda kit: contents)
    kit: Any = None
    values = _native_values(kit)
    lines = values["X86_VARIANTS"].split("},\n")
    assert '__builtin_cpu_supports("avx512vnni")' in lines[0]
    assert "avx512vnni" not in lines[1]
    assert "avx2" in values["X86_VARIANTS"]
    assert "has_dot_products" in values["ARM_VARIANTS"]
    assert "true" in values["ARM_VARIANTS"]
    assert "wasm" not in "".join(values.values())
    assert values["PREFIX"] == "edgeseg"
