"""What works on this machine."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

from edgeseg.quantize import resolve_quantization
from edgeseg.records import VERSION
from edgeseg.targets import RUNTIMES, Runtime, find_runtime
from edgeseg.targets.devices import device_names, find_device

from ..errors import EdgesegError
from ..lazy import distribution_of, install_command, installed_version, is_installed
from ..records import Diagnosis
from ..reference.torch_reference import TorchReference
from ..storage.cache import cache_root, kept_results

TRAIN_PACKAGES = ("torch", "monai", "lightning_fabric")
DICOM_PACKAGES = ("pydicom", "highdicom")


def diagnose() -> dict[str, Any]:
    """JSON record of the parts, the targets, and the cache."""
    return {
        "edgeseg": VERSION,
        "python": platform.python_version(),
        "parts": [
            _part("export", TorchReference.packages),
            _part("training", TRAIN_PACKAGES),
            _part("DICOM", DICOM_PACKAGES),
            _part("NIfTI", ("nibabel",)),
        ],
        "runtimes": [_runtime(name).to_json() for name in RUNTIMES.names()],
        "devices": {name: list(find_device(name).runtimes) for name in device_names()},
        "cache": {
            "folder": str(cache_root()),
            "size_bytes": sum(one.size_bytes for one in kept_results()),
        },
    }


def _missing(modules: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (distribution_of(name), install_command(name)) for name in modules if not is_installed(name)
    ]


def _part(name: str, modules: tuple[str, ...]) -> dict[str, Any]:
    missing = _missing(modules)
    return {
        "name": name,
        "is_ready": not missing,
        "versions": {module: installed_version(module) for module in modules},
        "missing": [{"package": package, "install": how} for package, how in missing],
    }


def _runtime(name: str) -> Diagnosis:
    """A runtime's own diagnosis, with what export and quantisers add to it or take away."""
    try:
        runtime = find_runtime(name)
    except EdgesegError as error:
        return Diagnosis(name, (), (), {}, notes=(str(error),))
    own = runtime.diagnose()
    quantizer_packages = _quantizer_packages(runtime)
    needed = (*TorchReference.packages, *quantizer_packages)
    builds = own.builds
    if builds and all(is_installed(module) for module in quantizer_packages):
        builds += runtime.quantized_precisions
    if _missing(TorchReference.packages):
        builds = ()
    missing = dict.fromkeys((*own.missing, *_missing(needed)))
    versions = {**own.versions, **{m: installed_version(m) for m in quantizer_packages}}
    return replace(own, builds=builds, versions=versions, missing=tuple(missing))


def _quantizer_packages(runtime: Runtime) -> tuple[str, ...]:
    if not runtime.quantized_precisions:
        return ()
    return resolve_quantization(runtime).packages
