"""What works on this machine."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

from edgeseg.quantize import find_method
from edgeseg.targets import TARGETS, Target, find_target

from .. import __version__
from ..errors import EdgesegError
from ..lazy import distribution_of, install_command, installed_version, is_installed
from ..records import Diagnosis
from ..reference.reference import EXPORT_PACKAGES
from ..storage.cache import cache_root, kept_results

TRAIN_PACKAGES = ("torch", "monai", "lightning_fabric")


def diagnose() -> dict[str, Any]:
    """JSON record of the parts, the targets, and the cache."""
    return {
        "edgeseg": __version__,
        "python": platform.python_version(),
        "parts": [
            _part("export", EXPORT_PACKAGES),
            _part("training", TRAIN_PACKAGES),
        ],
        "targets": [_target(name).to_json() for name in TARGETS.names()],
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


def _target(name: str) -> Diagnosis:
    """A target's own diagnosis, with what export and quantisers add to it or take away."""
    try:
        target = find_target(name)
    except EdgesegError as error:
        return Diagnosis(name, (), (), {}, notes=(str(error),))
    own = target.diagnose()
    quantizer_packages = _quantizer_packages(target)
    needed = (*EXPORT_PACKAGES, *quantizer_packages)
    builds = own.builds
    if builds and all(is_installed(module) for module in quantizer_packages):
        builds += target.quantized_precisions
    if _missing(EXPORT_PACKAGES):
        builds = ()
    missing = dict.fromkeys((*own.missing, *_missing(needed)))
    versions = {**own.versions, **{m: installed_version(m) for m in quantizer_packages}}
    return replace(own, builds=builds, versions=versions, missing=tuple(missing))


def _quantizer_packages(target: Target) -> tuple[str, ...]:
    if not target.quantized_precisions:
        return ()
    return find_method(None, target.quantized_from).packages
