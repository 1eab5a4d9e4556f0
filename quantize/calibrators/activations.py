"""Activations of an ONNX graph on calibration images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError, reason_of
from edgeseg.lazy import require

if TYPE_CHECKING:
    import onnx


def observe_activations(
    onnx_path: Path, tensors: Sequence[str], images: Iterable[NDArray[np.float32]]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run a float graph and yield the named tensors of each image.

    Args:
        tensors: Names of activations; the graph's input may be one of them.
        images: Prepared, (1, 3, H, W) each.

    Raises:
        CalibrationError: ONNX Runtime does not run the graph.
    """
    onnx_package = require("onnx", purpose="Calibration")
    require("onnxruntime", purpose="Calibration")
    with calibration_errors(onnx_path.name):
        model = onnx_package.load(onnx_path)
    return run_graph(model, onnx_path.name, tensors, images)


def run_graph(
    model: onnx.ModelProto,
    label: str,
    tensors: Sequence[str],
    images: Iterable[NDArray[np.float32]],
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Like `observe_activations`, for a model in memory.

    Args:
        model: Changed in place: the tensors become outputs.
        label: Name of the graph, for messages.
    """
    helper = require("onnx.helper", purpose="Calibration")
    onnxruntime = require("onnxruntime", purpose="Calibration")
    input_name = model.graph.input[0].name
    inner = [name for name in tensors if name != input_name]
    present = {output.name for output in model.graph.output}
    for name in inner:
        if name not in present:
            model.graph.output.append(helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with calibration_errors(label):
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    for image in images:
        with calibration_errors(label):
            # An empty list would ask for all outputs.
            results = session.run(inner, {input_name: image}) if inner else []
        values = dict(zip(inner, results, strict=True))
        if input_name in tensors:
            values[input_name] = image
        yield values


@contextlib.contextmanager
def calibration_errors(label: str) -> Iterator[None]:
    """Tell what ONNX Runtime says of a graph as a `CalibrationError`.

    Args:
        label: Name of the graph.
    """
    try:
        yield
    except Exception as error:
        # ONNX Runtime's exceptions have no common class of their own.
        raise CalibrationError(
            f"ONNX Runtime does not run {label} for calibration: "
            f"{reason_of(error)}. Build with --precision fp32."
        ) from error


def largest_magnitudes(
    observations: Iterable[dict[str, NDArray[np.float32]]],
) -> dict[str, float]:
    """Largest absolute value of each tensor over all images: symmetric min-max calibration.

    Raises:
        CalibrationError: No image, or a value that is NaN or infinite.

    Source: Jacob et al. 2018, arXiv:1712.05877, ranges; symmetric as in Krishnamoorthi 2018,
    arXiv:1806.08342.
    """
    ranges: dict[str, float] = {}
    for values in observations:
        for name, value in values.items():
            limit = float(np.abs(value).max())
            if not np.isfinite(limit):
                raise CalibrationError(
                    f"The activation '{name}' is NaN or infinite on a calibration image. Use "
                    "another checkpoint."
                )
            ranges[name] = max(limit, ranges.get(name, 0.0))
    if not ranges:
        raise CalibrationError("No calibration image was given. Name real images with --data.")
    return ranges


def extremes(
    observations: Iterable[dict[str, NDArray[np.float32]]],
) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor over all images."""
    found: dict[str, tuple[float, float]] = {}
    for values in observations:
        for name, value in values.items():
            low, high = float(value.min()), float(value.max())
            known = found.get(name, (low, high))
            found[name] = min(low, known[0]), max(high, known[1])
    return found
