"""Loading of heavy packages at the place that uses them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import Any

from .errors import MissingBackendError

# Import name -> (name of the distribution, extra of edgeseg that installs it).
BACKENDS = {
    "torch": ("torch", "export"),
    "onnx": ("onnx", "export"),
    "onnxscript": ("onnxscript", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "monai": ("monai", "train"),
    "lightning_fabric": ("lightning-fabric", "train"),
    "openvino": ("openvino", "intel"),
    "nncf": ("nncf", "intel"),
}


def is_installed(module: str) -> bool:
    """Tell whether `module` could be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def installed_version(module: str) -> str | None:
    """Version of the distribution that holds `module`; None when it is not installed."""
    distribution = BACKENDS.get(module, (module, ""))[0]
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def install_command(extra: str) -> str:
    return f"pip install 'edgeseg[{extra}]'"


def require(module: str, *, purpose: str) -> Any:
    """Import a backend, or say which extra adds it.

    Args:
        module: Import name, a key of `BACKENDS` or a submodule of one.
        purpose: Begins the message, such as "Building an engine".

    Raises:
        MissingBackendError: The package is not installed or does not load.
    """
    top = module.partition(".")[0]
    extra = BACKENDS[top][1]
    if not is_installed(top):
        raise MissingBackendError(
            f"{purpose} needs the package '{BACKENDS[top][0]}', which is not installed. "
            f"Install it with: {install_command(extra)}"
        )
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise MissingBackendError(
            f"{purpose} needs the package '{BACKENDS[top][0]}', which is installed but does not "
            f"load ({error}). Reinstall it with: {install_command(extra)} --force-reinstall"
        ) from error
