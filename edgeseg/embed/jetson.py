"""A kit for a Jetson or a desktop GPU: a Python package and a C++ project over TensorRT."""

from __future__ import annotations

import keyword
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ..errors import TargetError
from .cpp import write_project
from .native_contents import native_contents
from .surface import CONTRACT_FILE, SOURCES, Kit, Parity, Surface, copy_sources

FOLDER = SOURCES / "jetson"
# Of a bundle, on the device: the runner, and what it reads.
CARRIED = ("manifest.json", "artifact", "golden", "runner")
ARM = "aarch64"
LIMIT_S = 1800  # an engine takes minutes
TEMPLATE = ".in"  # ends the names of sources that are Python once they are filled
WRONG_MASK = 4  # exit code of the package
COLORS = {1: "grey or RGB", 2: "grey and alpha", 3: "RGB", 4: "the bands of the training pictures"}
PILLOW_MODES = {1: "RGB", 2: "LA", 3: "RGB", 4: "RGBA"}
NOT_AT_HAND = """\
@WHAT@ None was at hand where this was written: the Python package was tested with doubles of
TensorRT and CUDA, and the C++ was compiled against stand-ins for their headers and not run."""
STATES = {
    "tensorrt": NOT_AT_HAND.replace("@WHAT@", "The engine is built on the Jetson, once."),
    "tensorrt-rtx": NOT_AT_HAND.replace("@WHAT@", "The engine is for one kind of GPU."),
    "native": "It computes on the CPU. For ARM64 it was run by an emulator, and not on a Jetson.",
}
INSTALLS = {
    "tensorrt": "pip install 'cuda-python<13' numpy pillow  # JetPack 6; cuda-python for JetPack 7",
    "tensorrt-rtx": "pip install tensorrt-rtx cuda-python numpy pillow",
    "native": "pip install numpy pillow",
}


class JetsonSurface(Surface):
    """A Python package and a C++ project, to be copied to the device."""

    name = "jetson"
    title = "Jetson"
    runtimes: ClassVar[Mapping[str, str]] = {
        "tensorrt": "TensorRT",
        "tensorrt-rtx": "TensorRT-RTX",
        "native": "its own machine code",
    }
    refusals: ClassVar[Mapping[str, str]] = {
        "openvino": "OpenVINO is for Intel; build with --target jetson.",
        "litert": "build with --target jetson, or give --cpp.",
        "onnxruntime": "build with --target jetson.",
    }

    def require(self, kit: Kit) -> None:
        super().require(kit)
        if kit.runtime == "native" and not _has_arm(kit):
            raise TargetError(
                f"{kit.bundle.folder} has no library for ARM64, which Jetsons have. Build it with "
                "--option isa=portable."
            )

    def write(self, kit: Kit, folder: Path) -> None:
        title = self.runtimes[kit.runtime]
        module = module_name(kit.bundle.manifest.name)
        inputs, outputs = kit.bundle.inputs, kit.bundle.outputs
        values = {
            "TITLE": kit.bundle.manifest.name,
            "RUNTIME_TITLE": title,
            "INSTALL": INSTALLS[kit.runtime],
            "MODULE": module,
            "DISTRIBUTION": module.replace("_", "-"),
            "CHANNELS": str(inputs.channels),
            "COLORS": COLORS[inputs.channels],
            "PILLOW_MODE": PILLOW_MODES[inputs.channels],
            "CLASS_NAMES": repr(tuple(outputs.classes)),
            "CLASSES": ", ".join(f"{index} {name}" for index, name in enumerate(outputs.classes)),
            "STATE": STATES[kit.runtime],
        }
        copy_sources(FOLDER, folder, values)
        for path in folder.rglob(f"*{TEMPLATE}"):
            path.rename(path.with_suffix(""))
        (folder / "module").rename(folder / module)
        for name in CARRIED:
            source, place = kit.bundle.folder / name, folder / module / "bundle" / name
            place.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, place)
        write_project(kit, folder / "cpp", title)
        kit.write_contract(folder / CONTRACT_FILE)

    def check(self, kit: Kit, folder: Path) -> Parity:
        """Run the Python package, where its runtime is."""
        where = f"Python on {platform.machine()}, {self.runtimes[kit.runtime]}"
        words = [sys.executable, "-B", "-m", module_name(kit.bundle.manifest.name)]
        # Of the kit alone: its own packages are found beside it.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return Parity(where, reason=f"it took more than {LIMIT_S:g} s")
        return read_parity(where, done)

    def next_step(self, folder: Path) -> str:
        return f"Copy {folder} to the device and read README.md there."


def read_parity(where: str, done: subprocess.CompletedProcess[str]) -> Parity:
    """What the package said of its golden image.

    Raises:
        TargetError: It gave another mask, or is no Python.
    """
    lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
    if done.returncode == WRONG_MASK:
        raise TargetError(
            f"The Python package gives another mask than the bundle: {lines[-1]}. Run edgeseg "
            "verify on the bundle; --no-check writes the kit for a look."
        )
    if "SyntaxError" in lines[-1]:
        raise TargetError(
            f"The Python package cannot be read by Python: {lines[-1]}. Give the network and its "
            "classes plain names."
        )
    numbers = re.search(r"difference ([\d.e+-]+) .* ([\d.]+) of 10,000", lines[-1])
    if done.returncode != 0 or numbers is None:
        return Parity(where, reason=lines[-1].removeprefix("Error: ")[:300])
    return Parity(where, float(numbers[2]), float(numbers[1]))


def module_name(name: str) -> str:
    """A name for a package of Python, from that of a bundle."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    is_word = plain.isidentifier() and not keyword.iskeyword(plain)
    return plain if is_word else f"network_{plain}"


def _has_arm(kit: Kit) -> bool:
    return any(
        (one.system, one.architecture) == ("linux", ARM) for one in native_contents(kit).variants
    )
