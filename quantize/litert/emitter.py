"""Writes a plan into a float TFLite model.

The convolutions of the plan become INT8 with the quantized values, scales and zero points of the
plan, as in ONNX. Conversions stand where INT8 begins and ends.

If the plan does not quantize an output, the convolution goes from float to float: TFLite computes
it with the plan's quantized weights, and quantizes its input with the range of each image in place
of the plan's range. It has no such kernel for depthwise convolutions.
"""

from __future__ import annotations

from pathlib import Path

from edgeseg.errors import CalibrationError
from edgeseg.records import Artifact

from ..base import Emitter
from ..calibration_images import CalibrationImages
from ..plan.quant_plan import QuantPlan
from .edit import Grid, TfliteEdit
from .matching import match_convolutions


class LiteRtEmitter(Emitter):
    """Writes TFLite models with built-in INT8 convolutions between QUANTIZE and DEQUANTIZE."""

    artifact_format = "tflite"
    packages = ("ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")

    def emit(
        self,
        plan: QuantPlan,
        onnx_path: Path,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
    ) -> tuple[Artifact, dict[str, int]]:
        path = artifact.folder / artifact.files[0]
        image = next(iter(images))
        matches, missing = match_convolutions(onnx_path, plan, path, image)
        if not matches:
            raise CalibrationError(
                f"{path.name} has none of the convolutions of {onnx_path.name} that the plan "
                "makes INT8. Build with --method ai-edge-quantizer, or with --precision fp32."
            )
        model = TfliteEdit(path.read_bytes())
        for match in matches:
            weight, bias = plan.weights.get(match.name), plan.biases.get(match.name)
            if match.result in plan.ranges:
                source, result = (
                    Grid(plan.scale(name), plan.zero_point(name))
                    for name in (match.source, match.result)
                )
                model.make_int8(match.operator, source, weight, bias, result)
            elif match.kind == "CONV_2D":
                model.make_dynamic(match.operator, weight, bias)
            else:
                raise CalibrationError(
                    f"The plan does not round '{match.result}', the output of a depthwise "
                    "convolution, which LiteRT computes in INT8 only with a rounded output. "
                    "Calibrate with --method-option quantize_depthwise_outputs=true."
                )
        model.move_quantized()
        content = model.file.packed()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / artifact.files[0]).write_bytes(content)
        return artifact.quantized(folder), {
            "convolutions": model.file.count("CONV_2D", "DEPTHWISE_CONV_2D"),
            "int8_convolutions": len(matches),
            "dynamic_convolutions": sum(match.result not in plan.ranges for match in matches),
            "not_found_convolutions": len(missing),
            "conversions": model.file.count("QUANTIZE", "DEQUANTIZE"),
        }
