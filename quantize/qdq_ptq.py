"""Post-training quantisation of a float ONNX graph, for every runtime that reads Q/DQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseg.errors import CalibrationError
from edgeseg.lazy import require
from edgeseg.progress import SILENT, Progress
from edgeseg.records import ONNX_FORMAT, Artifact, QuantizationRecord

from .activations import largest_magnitudes, observe_activations
from .base import Quantizer
from .calibration_images import CalibrationImages
from .plan import QuantPlan
from .qdq_onnx import activations_to_quantize, emit_qdq

QUANTIZED_NAME = "quantized.onnx"


class QdqQuantizer(Quantizer):
    """Symmetric ranges from the largest magnitudes; every convolution but the last ones INT8."""

    name = "qdq"
    artifact_format = ONNX_FORMAT
    packages = ("onnx", "onnx_ir", "onnxruntime")

    def settings(self) -> dict[str, Any]:
        return {"ranges": "largest magnitude", "activations": "int8", "weights": "int8 per channel"}

    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        *,
        input_name: str,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        ir = require("onnx_ir", purpose="Quantising")
        onnx_path = artifact.folder / artifact.files[0]
        graph = ir.load(onnx_path).graph
        tensors = activations_to_quantize(graph)
        if not tensors:
            raise CalibrationError(
                f"{onnx_path.name} has no convolution that can become INT8: that takes constant "
                "weights and another convolution after it. Build with --precision fp32."
            )
        with progress.stage("calibrate", total=len(images)) as stage:

            def watched() -> Any:
                for image in images:
                    yield image
                    stage.advance()

            limits = largest_magnitudes(
                observe_activations(onnx_path, tensors, watched(), input_name)
            )
        settings = self.settings()
        plan = QuantPlan(limits, method=self.name, settings=settings)
        folder.mkdir(parents=True, exist_ok=True)
        quantized = emit_qdq(onnx_path, plan, folder / QUANTIZED_NAME)
        made = Artifact(
            target=artifact.target,
            precision="int8",
            format=ONNX_FORMAT,
            folder=folder,
            files=(QUANTIZED_NAME,),
        )
        convolutions = sum(node.op_type == "Conv" for node in graph)
        layers = {
            "convolutions": convolutions,
            "int8_convolutions": quantized,
            "quantized_activations": len(limits),
        }
        return made, QuantizationRecord(self.name, settings, images.identities(), layers)
