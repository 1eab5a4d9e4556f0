"""Runtime `tensorrt-rtx`: engines for desktop GPUs, built ahead for a compute capability."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from typing import Any

from edgeseg.errors import UsageError
from edgeseg.lazy import require
from edgeseg.records import Artifact

from ..base import RuntimeOptions
from ..runners.tensorrt_backend import (
    ENGINE_FILE,
    RECORD_FILE,
    describe_content,
    describe_machine,
    import_tensorrt,
    open_cuda,
    read_record,
    refuse_elsewhere,
)
from .base import TensorRtBase

# What tensorrt-rtx 1.7 builds for: GeForce 16 and RTX 20, A100, RTX 30, RTX 40, RTX 50, GB10.
COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


@dataclass(frozen=True)
class RtxOptions(RuntimeOptions):
    """Attributes:
    compute_capability: Of the GPU that will run the engine; `nvidia-smi --query-gpu=compute_cap
        --format=csv` tells it.
    """

    compute_capability: str = "8.9"

    def __post_init__(self) -> None:
        if self.compute_capability not in COMPUTE_CAPABILITIES:
            raise UsageError(
                f"The option compute_capability is {self.compute_capability}, for which "
                f"TensorRT-RTX does not build. Give one of {', '.join(COMPUTE_CAPABILITIES)}."
            )


class TensorRtRtxRuntime(TensorRtBase):
    """An engine, the record of what it was built for, and its graph for checks elsewhere."""

    name = "tensorrt-rtx"
    devices = ("rtx",)
    title = "TensorRT-RTX on NVIDIA desktop GPUs"
    package = "tensorrt_rtx"
    runtime_title = "TensorRT-RTX"
    artifact_format = "tensorrt-rtx-engine"
    run_packages = ("tensorrt_rtx", "cuda")
    options_class = RtxOptions

    @property
    def compute_capability(self) -> str:
        assert isinstance(self.options, RtxOptions)
        return self.options.compute_capability

    def _fallback_for(self, artifact: Artifact) -> str:
        name = self.fallback_runtime()
        if name:
            return name
        machine = describe_machine(import_tensorrt(self.package), open_cuda())
        try:
            refuse_elsewhere(read_record(artifact.folder, artifact.files), machine)
        except RuntimeError:
            return f"{self.fallback_name} for another GPU or version"
        return ""

    def _describe(self, record: dict[str, Any], engine: bytes) -> dict[str, bytes]:
        trt = require("tensorrt_rtx", purpose="Building for tensorrt-rtx")
        full = {
            **record,
            "package": self.package,
            "version": str(trt.__version__),
            "compute_capability": self.compute_capability,
            "device": None,  # any of that compute capability
            "platform": f"{platform.system()} {platform.machine()}",
            "engine": describe_content(ENGINE_FILE, engine),
        }
        return {ENGINE_FILE: engine, RECORD_FILE: json.dumps(full, indent=2).encode()}
