"""Loading of heavy packages at the place that uses them."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.metadata
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .errors import MissingBackendError

# Import name -> (name of the distribution, extra of edgeseg that installs it or nothing).
BACKENDS = {
    "torch": ("torch", "export"),
    "onnx": ("onnx", "export"),
    "onnx_ir": ("onnx-ir", "export"),
    "onnxscript": ("onnxscript", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "monai": ("monai", "train"),
    "scipy": ("scipy", "train"),
    "lightning_fabric": ("lightning-fabric", "train"),
    "openvino": ("openvino", "intel"),
    "nncf": ("nncf", "intel"),
    "onnx2tf": ("onnx2tf", "android"),
    "ai_edge_litert": ("ai-edge-litert", "android"),
    "ai_edge_quantizer": ("ai-edge-quantizer", "android"),
    "tensorrt_rtx": ("tensorrt-rtx", "jetson"),
    "ziglang": ("ziglang", "native"),
    "tensorrt": ("tensorrt", ""),
    "cuda": ("cuda-python", ""),
}

# The same for packages that no result depends on, so that no cache key names their versions.
TOOLS = {
    "ray": ("ray", "fleet"),
    "pydicom": ("pydicom", "dicom"),
    "highdicom": ("highdicom", "dicom"),
    "nibabel": ("nibabel", "nifti"),
    "mlflow": ("mlflow-skinny", "mlflow"),
    "sqlalchemy": ("sqlalchemy", "mlflow"),
    "alembic": ("alembic", "mlflow"),
    "yaml": ("PyYAML", "train"),
    "cryptography": ("cryptography", "release"),
    "model_signing": ("model-signing", "release"),
    "cyclonedx": ("cyclonedx-python-lib", "release"),
}

# Import name -> how it is installed where pip's ordinary index has no wheel of it.
OWN_SOURCES = {
    "tensorrt": "sudo apt install python3-libnvinfer (on a Jetson: JetPack brings it)",
}

# Import name -> packages that do the same and are taken where it is missing.
ALTERNATIVES: dict[str, tuple[str, ...]] = {
    "ai_edge_litert": ("tflite_runtime",),
    "cuda": ("pycuda",),
}


# Import name -> its module that loads the native library; others load it at once.
NATIVE_MODULES = {
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
}


# With these, packages send nothing about their use over the network.
REPORT_NOTHING = {
    "NNCF_CI": "1",  # NNCF reads it for that only
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # ONNX Runtime sends at import, from 1.29 on, and reads no setting of its Python interface then.
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# Packages that only send reports, at once when others import them and whatever the settings are.
# Those others do without them where they are not installed.
REPORTING_PACKAGES = ("openvino_telemetry",)
# Read by packages as they are imported, here and in child processes.
ENVIRONMENT = {
    **REPORT_NOTHING,
    # Threads of torch that wait by spinning starve each other on a busy machine.
    "OMP_WAIT_POLICY": "passive",
    # MONAI imports TensorFlow where it is installed, which logs from its import on.
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def prepare_environment() -> None:
    """Set what keeps other packages quiet, unless the user has set it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    hide_reporting_packages()
    if not has_home():
        # Packages look for it as they are imported, and fail where there is none.
        with contextlib.suppress(OSError):
            os.environ["HOME"] = str(substitute_home())


def hide_reporting_packages() -> None:
    """Let imports of packages that only send reports fail from now on, unless they are loaded."""
    modules: dict[str, Any] = sys.modules
    for name in REPORTING_PACKAGES:
        modules.setdefault(name, None)


def has_home() -> bool:
    """Whether the user has a home folder: in containers a user may be a mere number."""
    try:
        return Path.home().is_dir()
    except (RuntimeError, OSError):
        return False


def substitute_home() -> Path:
    """A folder of this user alone among the temporary ones.

    Raises:
        OSError: It cannot be made, or is another user's.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"edgeseg-home-{user}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_own = found.st_uid == user and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(found.st_mode) or not is_own:
        raise PermissionError(errno.EACCES, "it is not this user's alone", str(folder))
    return folder


def module_file(module: str) -> Path:
    """File of a module, which is found and not imported: it runs by itself elsewhere."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin)


def provider_of(module: str) -> str:
    """`module`, or the first of its alternatives that is installed where it is not."""
    for candidate in (module, *ALTERNATIVES.get(module, ())):
        if is_installed(candidate):
            return candidate
    return module


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


def install_command(module: str) -> str:
    """Command that adds a backend: an extra of edgeseg, its own source, or a plug-in's package."""
    if module in OWN_SOURCES:
        return OWN_SOURCES[module]
    extra = {**BACKENDS, **TOOLS}.get(module, ("", ""))[1]
    return f"pip install 'edgeseg[{extra}]'" if extra else f"pip install {distribution_of(module)}"


def distribution_of(module: str) -> str:
    return {**BACKENDS, **TOOLS}.get(module, (module, ""))[0]


def require_installed(modules: Iterable[str], *, purpose: str) -> None:
    """Refuse at once what would fail for want of a package after long work.

    Raises:
        MissingBackendError: One is not installed.
    """
    for module in modules:
        if not is_installed(module):
            raise MissingBackendError(
                f"{purpose} needs the package '{distribution_of(module)}', which is not "
                f"installed. Install it with: {install_command(module)}"
            )


def require(module: str, *, purpose: str) -> Any:
    """Import a backend, or say which extra adds it.

    Args:
        module: Import name, or a submodule.
        purpose: Begins the message, such as "Building an engine".

    Raises:
        MissingBackendError: The package is not installed or does not load.
    """
    top = module.partition(".")[0]
    require_installed([top], purpose=purpose)
    prepare_environment()
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        again = "" if top in OWN_SOURCES else " --force-reinstall"
        raise MissingBackendError(
            f"{purpose} needs the package '{distribution_of(top)}', which is installed but does "
            f"not load ({error}). Reinstall it with: {install_command(top)}{again}"
        ) from error


def attributes_on_demand(package: str, **submodules: str) -> Callable[[str], Any]:
    """`__getattr__` of a package (PEP 562) that imports a name when somebody asks for it.

    Args:
        package: The package's `__name__`.
        submodules: Submodule of the package that defines each name.
    """

    def get_attribute(name: str) -> Any:
        if name not in submodules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{submodules[name]}"), name)

    return get_attribute
