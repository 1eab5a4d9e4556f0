"""Software of others that a bundle was made with or runs on: who makes it, and under which licence.

What is not listed here is described by what it says of itself where it is installed.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..lazy import distribution_of

DEVICE, BUILD_HOST = "device", "build host"
NOT_KNOWN = "not known"
NOT_FIXED = "not fixed"  # a version that nobody has told


@dataclass(frozen=True)
class Maker:
    """Attributes:
    title: Of the package, for people.
    manufacturer: Who makes it.
    licence: SPDX name.
    anomalies: Where its known faults are listed.
    """

    title: str
    manufacturer: str
    licence: str
    anomalies: str


GITHUB = "https://github.com"
# By import name, as in the toolchain of a manifest.
MAKERS = {
    "python": Maker("Python", "Python Software Foundation", "PSF-2.0", f"{GITHUB}/python/cpython"),
    "numpy": Maker("NumPy", "NumPy developers", "BSD-3-Clause", f"{GITHUB}/numpy/numpy"),
    "pillow": Maker("Pillow", "Pillow developers", "MIT-CMU", f"{GITHUB}/python-pillow/Pillow"),
    "torch": Maker("PyTorch", "PyTorch Foundation", "BSD-3-Clause", f"{GITHUB}/pytorch/pytorch"),
    "onnx": Maker("ONNX", "ONNX project, LF AI & Data", "Apache-2.0", f"{GITHUB}/onnx/onnx"),
    "onnx_ir": Maker("ONNX IR", "ONNX project, LF AI & Data", "Apache-2.0", f"{GITHUB}/onnx/ir-py"),
    "onnxscript": Maker("ONNX Script", "Microsoft", "MIT", f"{GITHUB}/microsoft/onnxscript"),
    "onnxruntime": Maker("ONNX Runtime", "Microsoft", "MIT", f"{GITHUB}/microsoft/onnxruntime"),
    "openvino": Maker("OpenVINO", "Intel", "Apache-2.0", f"{GITHUB}/openvinotoolkit/openvino"),
    "nncf": Maker("NNCF", "Intel", "Apache-2.0", f"{GITHUB}/openvinotoolkit/nncf"),
    "onnx2tf": Maker("onnx2tf", "Katsuya Hyodo", "MIT", f"{GITHUB}/PINTO0309/onnx2tf"),
    "tensorflow": Maker("TensorFlow", "Google", "Apache-2.0", f"{GITHUB}/tensorflow/tensorflow"),
    "ai_edge_litert": Maker("LiteRT", "Google", "Apache-2.0", f"{GITHUB}/google-ai-edge/LiteRT"),
    "ai_edge_quantizer": Maker(
        "AI Edge Quantizer", "Google", "Apache-2.0", f"{GITHUB}/google-ai-edge/ai-edge-quantizer"
    ),
    "tensorrt": Maker(
        "TensorRT", "NVIDIA", "LicenseRef-NVIDIA-TensorRT", f"{GITHUB}/NVIDIA/TensorRT"
    ),
    "tensorrt_rtx": Maker(
        "TensorRT for RTX", "NVIDIA", "LicenseRef-NVIDIA-TensorRT", f"{GITHUB}/NVIDIA/TensorRT-RTX"
    ),
    "cuda": Maker("CUDA Python", "NVIDIA", "LicenseRef-NVIDIA", f"{GITHUB}/NVIDIA/cuda-python"),
    "ziglang": Maker("Zig", "Zig Software Foundation", "MIT", f"{GITHUB}/ziglang/zig"),
    "scipy": Maker("SciPy", "SciPy developers", "BSD-3-Clause", f"{GITHUB}/scipy/scipy"),
    "monai": Maker("MONAI", "MONAI Consortium", "Apache-2.0", f"{GITHUB}/Project-MONAI/MONAI"),
}


@dataclass(frozen=True)
class Soup:
    """Software of unknown provenance, as IEC 62304 calls what others made; a line of soup.csv.

    Attributes:
        module: Import name.
        package: Name of the distribution.
        title, manufacturer, licence, anomalies: See `Maker`.
        version: Of the package; "not fixed" where nobody has told which one runs.
        place: "device" or "build host".
    """

    module: str
    package: str
    title: str
    manufacturer: str
    version: str
    licence: str
    place: str
    anomalies: str

    @property
    def purl(self) -> str:
        """Package URL, without the part of the version that names a build."""
        kind = "generic" if self.module in ("python", "tensorrt") else "pypi"
        version = "" if self.version == NOT_FIXED else f"@{self.version.partition('+')[0]}"
        return f"pkg:{kind}/{self.package.lower().replace('_', '-')}{version}"


def list_soup(
    on_device: Iterable[str],
    on_build_host: Iterable[str],
    built_with: Mapping[str, str],
    measured_with: Mapping[str, str],
) -> list[Soup]:
    """The packages of a bundle, those of the device first.

    Args:
        on_device, on_build_host: Import names.
        built_with: Versions when the bundle was built, by import name.
        measured_with: Versions where the bundle was measured; empty where it was not.
    """
    found = [_describe(name, measured_with.get(name), DEVICE) for name in dict.fromkeys(on_device)]
    host = [name for name in dict.fromkeys(on_build_host) if name in built_with]
    return found + [_describe(name, built_with[name], BUILD_HOST) for name in host]


def _describe(module: str, version: str | None, place: str) -> Soup:
    maker = MAKERS.get(module) or _own_words(module)
    return Soup(
        module=module,
        package=distribution_of(module),
        title=maker.title,
        manufacturer=maker.manufacturer,
        version=version or NOT_FIXED,
        licence=maker.licence,
        place=place,
        anomalies=f"{maker.anomalies}/issues" if module in MAKERS else maker.anomalies,
    )


def _own_words(module: str) -> Maker:
    """What an installed package says of itself."""
    package = distribution_of(module)
    try:
        told: Any = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return Maker(package, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN)
    author = told.get("Author") or told.get("Author-email") or NOT_KNOWN
    licence = told.get("License-Expression") or told.get("License") or NOT_KNOWN
    links = [link.partition(",") for link in told.get_all("Project-URL") or []]
    tracker = next((url for name, _, url in links if "issue" in name.lower()), NOT_KNOWN)
    first = licence.splitlines()[0] if licence.strip() else NOT_KNOWN
    return Maker(package, author, first[:100], tracker.strip())


def soup_text(soup: Iterable[Soup]) -> str:
    """The table as CSV; a spreadsheet takes no cell of it for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    titles = "title", "manufacturer", "version", "licence", "place", "anomalies", "package"
    writer.writerow(titles)
    for one in soup:
        record = asdict(one)
        writer.writerow([_plain(record[title]) for title in titles])
    return file.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
