"""Post-training quantisation by ONNX Runtime's own tool, for comparison."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edgeseg.errors import CalibrationError, reason_of
from edgeseg.lazy import require

from .calibration_images import CalibrationImages
from .qdq_onnx import quantizable_convolutions

PURPOSE = "Quantising with ONNX Runtime's tool"


def quantize_by_onnxruntime(
    onnx_path: Path,
    images: CalibrationImages,
    path: Path,
    *,
    symmetric: bool,
) -> None:
    """Write a graph with Q/DQ as `quantize_static` makes it of the convolutions that plans take.

    Everything else is its default: minima and maxima, one scale for each weight, zero points.

    Args:
        symmetric: No zero points, a scale for each output channel and biases in float: the form
            for TensorRT.

    Raises:
        CalibrationError: The tool cannot quantise the graph.
    """
    quantization = require("onnxruntime.quantization", purpose=PURPOSE)
    graph = require("onnx_ir", purpose=PURPOSE).load(onnx_path).graph
    chosen = [node.name for node in quantizable_convolutions(graph)]
    rest = iter(images)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Any] | None:
            image = next(rest, None)
            return None if image is None else {images.input_name: image}

    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger().addFilter(_is_no_advice)
    try:
        quantization.quantize_static(
            str(onnx_path),
            str(path),
            Reader(),
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=chosen,
            per_channel=symmetric,
            extra_options={"ActivationSymmetric": symmetric, "QuantizeBias": not symmetric},
        )
    except Exception as error:
        # The tool raises plain kinds.
        raise CalibrationError(
            f"ONNX Runtime's tool cannot quantise {onnx_path.name}: {reason_of(error)}."
        ) from error
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """The tool advises to pre-process, which changes the graph that is compared."""
    return "pre-processing" not in record.getMessage()
