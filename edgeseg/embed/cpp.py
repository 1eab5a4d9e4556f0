"""A C and C++ project: one header over the contract and OpenVINO, LiteRT or a compiled network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..contract import WHITE
from ..errors import TargetError
from ..lazy import is_installed
from ..storage.temporary import temporary_folder
from .contract_c import HEADER, c_string, contract_header
from .native_contents import NativeVariant, native_contents
from .surface import CONTRACT_FILE, SOURCES, Kit, Parity, Surface, copy_sources

FOLDER = SOURCES / "cpp"
MODEL = "model"
BUILD_LIMIT_S = 300
RUN_LIMIT_S = 300
NO_MACHINE = 3  # exit code of the golden test
PACKAGES = {
    "openvino": "openvino",
    "litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
}
CPU_PROVIDER = "CPUExecutionProvider"
OPTIMIZATIONS = {"all": 99, "extended": 2}  # levels of ONNX Runtime, by the manifest's words
# What GCC and Clang call flags of /proc/cpuinfo.
CPU_NAMES = {
    **dict.fromkeys(("ssse3", "popcnt", "avx2", "fma", "bmi2"), ""),
    **dict.fromkeys(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"), ""),
    "sse4_2": "sse4.2",
    "bmi1": "bmi",
    "avx512_vnni": "avx512vnni",
}
TENSORRT_FILES = {"tensorrt": "model.onnx", "tensorrt-rtx": "model.engine"}
SOURCES_OF = {"tensorrt-rtx": "tensorrt"}  # of runtimes that share a folder
PIXEL_VALUES = {1: "one value", 2: "two values", 3: "three values", 4: "four values"}


class CppSurface(Surface):
    """A folder that CMake builds, with a program and a test."""

    name = "cpp"
    title = "C and C++"
    runtimes: ClassVar[Mapping[str, str]] = {
        "openvino": "OpenVINO",
        "litert": "LiteRT",
        "native": "its own machine code",
        "onnxruntime": "ONNX Runtime",
    }
    refusals: ClassVar[Mapping[str, str]] = {
        "tensorrt": "use --jetson for it.",
        "tensorrt-rtx": "use --jetson for it.",
    }

    def require(self, kit: Kit) -> None:
        super().require(kit)
        settings = kit.bundle.manifest.artifact.settings
        provider = settings.get("provider", CPU_PROVIDER)
        if provider != CPU_PROVIDER:
            raise TargetError(
                f"{kit.bundle.folder} is for {provider}, and --cpp runs ONNX Runtime on the CPU. "
                "Build it without --option provider."
            )

    def write(self, kit: Kit, folder: Path) -> None:
        write_project(kit, folder, self.runtimes[kit.runtime])

    def check(self, kit: Kit, folder: Path) -> Parity:
        where = f"{self.title} over {self.runtimes[kit.runtime]}, from picture to mask"
        reason = _why_not_here(kit.runtime)
        if reason:
            return Parity(where, reason=reason)
        with temporary_folder("cpp") as work:
            build(folder, work)
            return run_golden(folder, work / "golden_test", where)

    def next_step(self, folder: Path) -> str:
        return f"cmake -S {folder} -B build && cmake --build build && ctest --test-dir build"


def write_project(kit: Kit, folder: Path, title: str) -> None:
    """Write the project of a bundle.

    Args:
        folder: Which gets it; it may be there.
        title: What computes the network.

    Raises:
        TargetError: The artefact holds nothing that the project can load.
    """
    values = {**_names(kit, title), **RUNTIME_VALUES[kit.runtime](kit)}
    for part in ("common", SOURCES_OF.get(kit.runtime, kit.runtime)):
        copy_sources(FOLDER / part, folder, values)
    (folder / "include" / HEADER).write_text(contract_header(kit), encoding="utf-8")
    (folder / MODEL).mkdir()
    for name, path in _model_files(kit).items():
        # Its names are also those of the contract's header, which is for apps.
        place = folder / ("src" if path.suffix == ".h" else MODEL)
        shutil.copyfile(path, place / name)
    kit.write_contract(folder / CONTRACT_FILE)
    kit.write_golden(folder / "golden")
    image, _ = kit.bundle.golden_pair()
    if image.dtype == np.uint16:  # as it was computed, since eight bits give another mask
        (folder / "golden" / "image.bin").write_bytes(image.astype("<u2").tobytes())
        path = folder / "golden" / "golden.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        record["image"]["bits"] = 16
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def build(folder: Path, work: Path) -> None:
    """Build the kit in `folder` into `work`.

    Raises:
        TargetError: CMake or the compiler failed; it has their first complaint.
    """
    configure = ["cmake", "-S", str(folder), "-B", str(work)]
    configure.append(f"-DPython3_EXECUTABLE={sys.executable}")
    jobs = str(len(os.sched_getaffinity(0)))
    for words in (configure, ["cmake", "--build", str(work), "--parallel", jobs]):
        done = _run(words, BUILD_LIMIT_S)
        if done.returncode != 0:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            errors = [line for line in lines if "error" in line.lower()] or lines[-1:]
            raise TargetError(
                f"The C++ project does not build here: {' '.join(errors[:2])[:300]}. Write it "
                "with --no-check, and build it by hand to see all."
            )


def run_golden(folder: Path, program: Path, where: str) -> Parity:
    """Run the golden test of the kit in `folder`.

    Raises:
        TargetError: It fails, or gives another mask.
    """
    done = _run([str(program), str(folder / MODEL), str(folder / "golden")], RUN_LIMIT_S)
    if done.returncode == NO_MACHINE:
        return Parity(where, reason="the bundle has no library for this machine")
    numbers = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    if not {"flips_per_10k", "max_abs_diff", "milliseconds"} <= numbers.keys():
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise TargetError(
            f"The golden test of the C++ project fails: {reason[0][:300]}. Build the bundle again; "
            "--no-check writes the kit for a look."
        )
    if done.returncode != 0:
        raise TargetError(
            f"The C++ project gives another mask than the bundle: {numbers['flips_per_10k']} of "
            f"10,000 pixels flip, probabilities differ by {numbers['max_abs_diff']}. Run edgeseg "
            "verify on the bundle; --no-check writes the kit for a look."
        )
    return Parity(
        where,
        float(numbers["flips_per_10k"]),
        float(numbers["max_abs_diff"]),
        float(numbers["milliseconds"]),
    )


def _run(words: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(
            f"{Path(words[0]).name} took more than {limit_s:.0f} s. Write the kit with --no-check, "
            "and build it where the machine has time."
        ) from error


def _why_not_here(runtime: str) -> str:
    """What this machine lacks to build the project; empty where it lacks nothing."""
    if shutil.which("cmake") is None:
        return "cmake is not installed"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        return "no C++ compiler is installed"
    package = PACKAGES.get(runtime)
    if package and not is_installed(package.replace("-", "_")):
        return f"the package {package} is not installed"
    return ""


def _names(kit: Kit, runtime: str) -> dict[str, str]:
    inputs, outputs = kit.bundle.inputs, kit.bundle.outputs
    golden = kit.bundle.manifest.golden
    height, width = kit.golden_image.shape[:2]
    package = PACKAGES.get(kit.runtime)
    files = {name: path for name, path in _model_files(kit).items() if path.suffix != ".h"}
    return {
        "TITLE": kit.bundle.manifest.name,
        "RUNTIME_TITLE": runtime,
        "REQUIRED": f"pip install {package}  # the runtime; or see cmake/runtime.cmake\n"
        if package
        else "",
        "BUILT": _built(kit),
        "MORE_SOURCES": " src/engine.cpp" if kit.runtime in TENSORRT_FILES else "",
        "CLASSES": ", ".join(f"{index} {name}" for index, name in enumerate(outputs.classes)),
        "CLASS_COUNT": str(len(outputs.classes)),
        "PLANES": str(outputs.channels),
        "CHANNELS": PIXEL_VALUES[inputs.channels],
        "WHITE": str(inputs.white or WHITE),
        "GOLDEN_HEIGHT": str(height),
        "GOLDEN_WIDTH": str(width),
        "GOLDEN_BYTES": str(kit.bundle.golden_pair()[0].itemsize),
        "MAX_ABS_DIFF": repr(float(golden.max_abs_diff)),
        "MAX_FLIPS": repr(float(golden.max_flips_per_10k)),
        "MODEL_FILES": "\n".join(
            f"    {{{c_string(name)}, {path.stat().st_size}, "
            f"0x{zlib.crc32(path.read_bytes()):08x}u}},"
            for name, path in files.items()
        ),
    }


def _built(kit: Kit) -> str:
    """Where the project was tried, for its README."""
    if kit.runtime in TENSORRT_FILES:
        return (
            "Compiled against stand-ins for the headers of TensorRT and CUDA only, and not run. An "
            "engine holds\nfor one version of TensorRT and one GPU."
        )
    others = ", nor were the libraries for other machines run" if kit.runtime == "native" else ""
    return (
        "Built with GCC on Linux for x86-64, where `embed.json` says that it was run. Not tried "
        f"with MSVC or\non macOS{others}."
    )


def _model_files(kit: Kit) -> dict[str, Path]:
    """What a kit carries of the artefact."""
    if kit.runtime in TENSORRT_FILES:
        name = TENSORRT_FILES[kit.runtime]
        return {name: kit.artifact_files[name]}
    if kit.runtime != "native":
        return kit.artifact_files
    variants = _loadable(kit)
    names = {name for one in variants for name in (one.library.name, one.weights.name)}
    header = f"{native_contents(kit).prefix}.h"
    files = kit.artifact_files
    return {name: path for name, path in files.items() if name in names or name == header}


def _loadable(kit: Kit) -> list[NativeVariant]:
    """What Linux and Android load; the project asks nothing of other systems."""
    found = [one for one in native_contents(kit).variants if one.system == "linux"]
    if not found:
        raise TargetError(
            f"{kit.bundle.folder} has no library for Linux. Build it with --option isa=portable."
        )
    return found


def _openvino_values(kit: Kit) -> dict[str, str]:
    settings = kit.bundle.manifest.artifact.settings
    model, weights = kit.artifact_files
    return {
        "MODEL": c_string(model),
        "WEIGHTS": c_string(weights),
        "DEVICE": c_string(str(settings["device"])),
        "PRECISION": c_string(str(settings["inference_precision"])),
        "STREAMS": str(int(settings["streams"])),
    }


def _litert_values(kit: Kit) -> dict[str, str]:
    (model,) = kit.artifact_files
    layout = kit.contract["input"]["tensor"]["layout"]
    order = "height, width, channels" if layout == "NHWC" else "channels, height, width"
    return {"MODEL": c_string(model), "DIMENSIONS": f"{{1, {order}}}"}


def _onnxruntime_values(kit: Kit) -> dict[str, str]:
    (model,) = kit.artifact_files
    level = kit.bundle.manifest.artifact.settings.get("optimization", "all")
    return {
        "MODEL": c_string(model),
        "OPTIMIZATION": str(OPTIMIZATIONS[level]),
        "INPUT": c_string(kit.bundle.inputs.name),
        "OUTPUT": c_string(kit.bundle.outputs.name),
    }


def _native_values(kit: Kit) -> dict[str, str]:
    lines: dict[str, list[str]] = {"x86_64": [], "aarch64": []}
    for one in _loadable(kit):
        names = [CPU_NAMES[flag] or flag for flag in one.flags if flag in CPU_NAMES]
        tests = [f'__builtin_cpu_supports("{name}")' for name in names]
        if one.architecture == "aarch64":
            tests = ["has_dot_products"] if "asimddp" in one.flags else []
        files = ", ".join(map(c_string, (one.library.name, one.weights.name)))
        condition = "\n                && ".join(tests) or "true"
        lines[one.architecture].append(f"        {{{files},\n            {condition}}},")
    return {
        "PREFIX": native_contents(kit).prefix,
        "X86_VARIANTS": "\n".join(lines["x86_64"]),
        "ARM_VARIANTS": "\n".join(lines["aarch64"]),
    }


def _tensorrt_values(kit: Kit) -> dict[str, str]:
    names = kit.artifact_files
    record_file = next(path for name, path in names.items() if name.endswith(".json"))
    record = json.loads(record_file.read_text(encoding="utf-8"))
    return {
        "PACKAGE": kit.bundle.manifest.artifact.settings["package"],
        "ENGINE_IS_BUILT": "1" if kit.runtime == "tensorrt-rtx" else "0",
        "INPUT": c_string(str(record["input"]["name"])),
        "OUTPUT": c_string(str(record["output"]["name"])),
        "WORKSPACE_MB": str(int(record.get("workspace_mb", 512))),
        "DLA_CORE": str(int(record.get("dla_core", -1))),
    }


RUNTIME_VALUES = {
    "tensorrt": _tensorrt_values,
    "tensorrt-rtx": _tensorrt_values,
    "openvino": _openvino_values,
    "litert": _litert_values,
    "native": _native_values,
    "onnxruntime": _onnxruntime_values,
}
