"""Runtime `tensorrt`: TensorRT, whose engines are built on the device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgeseg.errors import UsageError
from edgeseg.lazy import installed_version

from ..base import RuntimeOptions
from .base import TensorRtBase

PLAN_FILE = "plan.json"
OLDEST_TENSORRT = "10.3"  # JetPack 6.2
NEXT_TENSORRT = "12.0"
DLA_CORES = 2  # of the largest Orin
LEAST_WORKSPACE_MB = 16
# Jetsons have 8.7, for which TensorRT-RTX does not build; 8.6 is the same architecture, Ampere.
PROOF_CAPABILITY = "8.6"


@dataclass(frozen=True)
class JetsonOptions(RuntimeOptions):
    """Attributes:
    workspace_mb: Memory that building may use for scratch. A Jetson's GPU shares the memory of
        its CPU, of which 4 GB boards leave about half to a program.
    dla_core: Deep-learning accelerator that takes the layers that it can, FP16 only; -1 is none.
    """

    workspace_mb: int = 512
    dla_core: int = -1

    def __post_init__(self) -> None:
        if self.workspace_mb < LEAST_WORKSPACE_MB:
            raise UsageError(
                f"The option workspace_mb is {self.workspace_mb}, too little to build with. Give "
                f"at least {LEAST_WORKSPACE_MB}."
            )
        if not -1 <= self.dla_core < DLA_CORES:
            raise UsageError(
                f"The option dla_core is {self.dla_core}. Give 0 or 1, or -1 for none."
            )


class TensorRtRuntime(TensorRtBase):
    """The graph and a plan; the kit in the bundle builds the engine from them on the device."""

    name = "tensorrt"
    devices = ("jetson",)
    title = "TensorRT 10.3 to 11 on NVIDIA Jetson"
    package = "tensorrt"
    runtime_title = "TensorRT"
    artifact_format = "tensorrt-kit"
    run_packages = ("tensorrt", "cuda")
    runner_modules = {"kit.py": "edgeseg.targets.runners.tensorrt_kit"}  # noqa: RUF012
    options_class = JetsonOptions

    @property
    def compute_capability(self) -> str:
        return PROOF_CAPABILITY

    @property
    def _dla_core(self) -> int:
        assert isinstance(self.options, JetsonOptions)
        return self.options.dla_core

    def refusal(self, precision: str) -> str | None:
        if self._dla_core >= 0 and precision != "fp16":
            return (
                f"it was asked for DLA core {self._dla_core}, and these compute in FP16 only "
                "(INT8 goes with calibrators there, not with Q/DQ)"
            )
        return None

    def _describe(self, record: dict[str, Any], engine: bytes) -> dict[str, bytes]:
        # What is compared with an FP16 network on a DLA core runs on the GPU.
        dla_core = self._dla_core if record["precision"] == "fp16" else -1
        plan = {
            **record,
            **self.options.to_json(),
            "dla_core": dla_core,
            "tensorrt": {"least": OLDEST_TENSORRT, "below": NEXT_TENSORRT},
            # Before TensorRT 11, DLA is only for networks that are not.
            "strongly_typed": dla_core < 0,
            "proof": {
                "package": "tensorrt_rtx",
                "version": installed_version("tensorrt_rtx"),
                "compute_capability": PROOF_CAPABILITY,
                "engine_bytes": len(engine),
            },
        }
        return {PLAN_FILE: json.dumps(plan, indent=2).encode()}
