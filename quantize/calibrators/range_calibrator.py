"""Base of calibrators that choose each range from the values of its own tensor."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError
from edgeseg.formats.onnx import constant_of, name_of
from edgeseg.lazy import require
from edgeseg.progress import SILENT, Progress
from edgeseg.records import sha256_of_file

from ..base import Calibrator, MethodOptions
from ..calibration_images import CalibrationImages
from ..plan.older_plans import RENAMED_OPTIONS
from ..plan.quant_plan import (
    HIGHEST_VALUE,
    INT8_STEPS,
    LOWEST_VALUE,
    Provenance,
    QuantPlan,
    WeightGrid,
    require_ranges,
)
from ..plan.weight_grids import covering_grid, steps_of_bits
from ..qdq_onnx import activations_to_quantize, quantizable_convolutions
from .activations import extremes, observe_activations
from .bias_correction import correct_biases

# A pass over the images: yields the values of all tensors, image by image.
Pass = Callable[[], Iterator[dict[str, NDArray[np.float32]]]]


@dataclass(frozen=True)
class RangeOptions(MethodOptions):
    """
    Attributes:
        bias_correction: Correct the biases too (see `bias_correction.py`).
        zero_points: Let the quantized values of each activation cover the interval from its
            smallest to its largest value where the symmetric range is wider. TensorRT does not
            take such plans.
        quantize_outputs: Quantize the outputs of INT8 convolutions too, also those that only float
            operators read. ONNX Runtime computes in INT8 only then. TensorRT and OpenVINO
            dequantize within the convolution, which costs no accuracy. LiteRT does so too, except
            for depthwise convolutions, if it takes the range of the convolution's input from each
            image.
        quantize_depthwise_outputs: Quantize the outputs of depthwise convolutions even if
            `quantize_outputs` is false, as LiteRT needs it.
        weight_bits: Of weights. x86 CPUs without VNNI add two products of an unsigned and a signed
            byte in 16 bits (`vpmaddubsw`), which 255 x 127 x 2 does not fit in and 255 x 63 x 2
            does: what overflows saturates there, and masks differ from those of other CPUs.
    """

    aliases: ClassVar[Mapping[str, str]] = RENAMED_OPTIONS
    bias_correction: bool = False
    zero_points: bool = False
    quantize_outputs: bool = True
    quantize_depthwise_outputs: bool = False
    weight_bits: int = 8

    def __post_init__(self) -> None:
        steps_of_bits(self.weight_bits)

    @property
    def weight_steps(self) -> int:
        """Largest quantized value of a weight."""
        return steps_of_bits(self.weight_bits)


class RangeCalibrator(Calibrator):
    """Makes passes over the images, with one image in memory at a time.

    Attributes:
        passes: Number of passes that `choose_ranges` makes.
    """

    packages = ("onnx", "onnx_ir", "onnxruntime")
    options_class = RangeOptions
    options: RangeOptions
    passes: ClassVar[int] = 1

    def settings(self) -> dict[str, Any]:
        return self.options.to_json()

    @abc.abstractmethod
    def choose_ranges(self, observe: Pass) -> dict[str, float]:
        """The largest absolute value that the quantized values of each tensor represent.

        Args:
            observe: Makes a pass over all images; may be called `passes` times.
        """

    def choose_grid(self, weight: NDArray[np.float32]) -> WeightGrid:
        """The quantized form of a convolution's weight (O, I/groups, kh, kw)."""
        return covering_grid(weight, self.options.weight_steps)

    def calibrate(
        self,
        onnx_path: Path,
        images: CalibrationImages,
        progress: Progress = SILENT,
    ) -> QuantPlan:
        ir = require("onnx_ir", purpose="Calibration")
        graph = ir.load(onnx_path).graph
        tensors = activations_to_quantize(
            graph,
            quantize_outputs=self.options.quantize_outputs,
            quantize_depthwise_outputs=self.options.quantize_depthwise_outputs,
        )
        require_work(onnx_path, tensors, images)
        passes = self.passes + self.options.bias_correction + self.options.zero_points
        with progress.stage(f"calibrate by {self.name}", passes * len(images)) as stage:

            def watched() -> Iterator[NDArray[np.float32]]:
                for image in images:
                    yield image
                    stage.advance()

            def observe() -> Iterator[dict[str, NDArray[np.float32]]]:
                return observe_activations(onnx_path, tensors, watched())

            ranges = self.choose_ranges(observe)
            zero_points: dict[str, int] = {}
            if self.options.zero_points:
                ranges, zero_points = shift_ranges(ranges, extremes(observe()))
            weights = {
                name_of(node.outputs[0]): self.choose_grid(constant_of(node.inputs[1]))
                for node in quantizable_convolutions(graph)
            }
            plan = QuantPlan(
                ranges,
                weights=weights,
                zero_points=zero_points,
                provenance=self._provenance(onnx_path, images),
            )
            if self.options.bias_correction:
                plan = correct_biases(onnx_path, plan, watched())
        return plan

    def _provenance(self, onnx_path: Path, images: CalibrationImages) -> Provenance:
        return Provenance(
            method=self.name,
            settings=self.settings(),
            graph_sha256=sha256_of_file(onnx_path),
            images=tuple(sorted(images.digests)),
        )


def shift_ranges(
    ranges: Mapping[str, float], extremes: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, float], dict[str, int]]:
    """Let 256 quantized values cover the part of each range -r..r that holds values.

    Zero is represented exactly, so that padding stays exact.

    Args:
        ranges: r of each tensor.
        extremes: Smallest and largest value of each tensor.

    Returns:
        Ranges and zero points, as in `QuantPlan`.

    Raises:
        CalibrationError: A tensor is zero in all images.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3: the range is nudged so that 0 is exact.
    """
    require_ranges(ranges)
    shifted, zero_points = {}, {}
    for name, limit in ranges.items():
        low, high = max(extremes[name][0], -limit), min(extremes[name][1], limit)
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (HIGHEST_VALUE - LOWEST_VALUE)
        shifted[name] = scale * INT8_STEPS
        zero_points[name] = round(LOWEST_VALUE - low / scale)
    return shifted, zero_points


def require_work(onnx_path: Path, tensors: list[str], images: CalibrationImages) -> None:
    """Refuse a graph without a convolution that can be INT8, and an empty set of images.

    Raises:
        CalibrationError: There is no such convolution, or no image.
    """
    if not tensors:
        raise CalibrationError(
            f"{onnx_path.name} has no convolution that can become INT8: it needs constant "
            "weights and another convolution after it. Build with --precision fp32."
        )
    if not len(images):
        raise CalibrationError("No calibration image was given. Name real images with --data.")
