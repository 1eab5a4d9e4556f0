"""Post-training quantisation by ONNX Runtime's quantiser, for comparison."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edgeseg.errors import CalibrationError, reason_of
from edgeseg.lazy import require

from .calibration_images import CalibrationImages
from .qdq_onnx import quantizable_convolutions

PURPOSE = "Quantising with ONNX Runtime"


def quantize_by_onnxruntime(
    onnx_path: Path,
    images: CalibrationImages,
    path: Path,
    *,
    symmetric: bool,
) -> None:
    """Quantize the convolutions that plans quantize, by `quantize_static`.

    Other settings are its defaults: minima and maxima, one scale for each weight, zero points.

    Args:
        path: ONNX file to write, with Q/DQ operators.
        symmetric: Use no zero points, one scale for each output channel, and biases in float, as
            TensorRT needs it.

    Raises:
        CalibrationError: ONNX Runtime cannot quantise the graph.
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
            f"ONNX Runtime cannot quantise {onnx_path.name}: {reason_of(error)}. Compare on "
            "another --target."
        ) from error
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """False for the advice to pre-process, which would change the graph that is compared."""
    return "pre-processing" not in record.getMessage()
