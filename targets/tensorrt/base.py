"""What TensorRT and TensorRT-RTX share: the graph, its proof, and the fallback runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError
from edgeseg.formats.onnx import forget_modules
from edgeseg.lazy import require
from edgeseg.records import ONNX_FORMAT, Artifact

from ..base import Backend, Runtime, Written
from ..half_precision import halve_graph
from ..onnx_file import read_typed_graph
from ..runners import onnxruntime_backend
from ..runners.tensorrt_backend import (
    describe_content,
    describe_machine,
    find_file,
    import_tensorrt,
    missing_reason,
    open_cuda,
    read_record,
)
from .builder import KernelReport, build_ahead_of_time
from .graph import require_legal_qdq, require_opset, tensors_of

MODEL_FILE = "model.onnx"


class GraphOnCpu:
    """The ONNX file of an artefact in ONNX Runtime, after its files were checked."""

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        record = read_record(folder, files)
        path = find_file(folder, files, record["onnx"]["file"])
        settings = {"provider": "CPUExecutionProvider"}
        self._inner = onnxruntime_backend.Backend(path.parent, (path.name,), settings, threads)

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        return self._inner.run(image)


class TensorRtBase(Runtime):
    """FP32, FP16 and INT8 as one strongly typed ONNX graph: its types say what is computed in.

    Every graph is built ahead of time with TensorRT-RTX, so that what is illegal fails here and
    not on the device. What is not convolution in an INT8 network stays in float32: TensorRT-RTX
    makes the same kernels of it with FP16 around the INT8 convolutions.

    Attributes:
        package: Import name of the runtime.
        runtime_title: What it is called.
    """

    package: ClassVar[str]
    runtime_title: ClassVar[str]
    quantized_from = (ONNX_FORMAT,)
    # Convolutions go from codes to float by themselves.
    plan_defaults: ClassVar[Mapping[str, str]] = {
        "quantize_outputs": "false",
        "bias_correction": "false",
    }
    compiled_precisions = ("fp32", "fp16")
    quantized_precisions = ("int8",)
    build_packages = ("onnx", "onnx_ir", "onnxruntime", "tensorrt_rtx")
    backend_module = "edgeseg.targets.runners.tensorrt_backend"
    profiler = "edgeseg.targets.profiling.tensorrt:profile_layers"

    @property
    def compute_capability(self) -> str:
        """For which the graph is built ahead of time."""
        raise NotImplementedError

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        ir = require("onnx_ir", purpose=f"Building for {self.name}")
        model = read_typed_graph(onnx_path)
        require_opset(model)
        require_legal_qdq(model.graph, precision)
        forget_modules(model.graph)
        tensors = tensors_of(model.graph)
        if precision == "fp16":
            halve_graph(model.graph)
        onnx: bytes = ir.to_proto(model).SerializeToString()
        engine, report = build_ahead_of_time(model, onnx, self.compute_capability)
        self._require_int8(report, precision)
        record = {
            "precision": precision,
            "onnx": describe_content(MODEL_FILE, onnx),
            **tensors,
            "kernels": report.to_json() if report else None,
        }
        contents = {**self._describe(record, engine), MODEL_FILE: onnx}
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return Written(tuple(contents), str(report) if report else "")

    def _require_int8(self, report: KernelReport | None, precision: str) -> None:
        """Refuse an INT8 network that would be computed in float throughout."""
        if precision == "int8" and report is not None and "int8" not in report.convolutions:
            raise TargetError(
                f"For compute capability {self.compute_capability} TensorRT-RTX computes none of "
                "the quantised convolutions in INT8. Build with --precision fp16."
            )

    def _describe(self, record: dict[str, Any], engine: bytes) -> dict[str, bytes]:
        """Contents of the artefact's files beside the graph, the one to load first.

        Args:
            record: Of the graph and its kernels.
            engine: Built ahead of time from it.
        """
        raise NotImplementedError

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        return {"package": self.package}

    @property
    def fallback_name(self) -> str:
        return f"onnxruntime in place of {self.runtime_title}"

    def fallback_runtime(self) -> str:
        return "" if missing_reason(self.package) is None else self.fallback_name

    def load_for_check(self, artifact: Artifact) -> tuple[Backend, str]:
        name = self._fallback_for(artifact)
        if not name:
            return super().load_for_check(artifact)
        require("onnxruntime", purpose=f"Checking an artefact of {self.name}")
        return self._open(GraphOnCpu, artifact, 1), name

    def _fallback_for(self, artifact: Artifact) -> str:
        """What computes an artefact here in place of this runtime; empty where it runs."""
        return self.fallback_runtime()

    def notes(self) -> tuple[str, ...]:
        reason = missing_reason(self.package)
        if reason is not None:
            return (reason,)
        machine = describe_machine(import_tensorrt(self.package), open_cuda())
        return (machine["device"], f"compute capability {machine['compute_capability']}")
