"""What the calibrators share that choose each range from the values of its own tensor."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError
from edgeseg.lazy import require
from edgeseg.onnx_graph import constant_of
from edgeseg.progress import SILENT, Progress
from edgeseg.records import sha256_of_file

from .activations import observe_activations
from .base import Calibrator, MethodOptions
from .bias_correction import correct_biases
from .calibration_images import CalibrationImages
from .plan import Provenance, QuantPlan, WeightGrid
from .qdq_onnx import activations_to_quantize, quantizable_convolutions
from .weight_grids import covering_grid

# A pass over the images: the values of all tensors for one image after the other.
Pass = Callable[[], Iterator[dict[str, NDArray[np.float32]]]]


@dataclass(frozen=True)
class RangeOptions(MethodOptions):
    """
    Attributes:
        bias_correction: Choose the biases too (see `bias_correction.py`).
    """

    bias_correction: bool = False


class RangeCalibrator(Calibrator):
    """Goes over the images as often as the method wants, one image in memory at a time.

    Attributes:
        passes: How often.
    """

    packages = ("onnx", "onnx_ir", "onnxruntime")
    options_class = RangeOptions
    options: RangeOptions
    passes: ClassVar[int] = 1

    def settings(self) -> dict[str, Any]:
        return self.options.to_json()

    @abc.abstractmethod
    def choose_limits(self, observe: Pass) -> dict[str, float]:
        """The largest absolute value that the codes of each tensor cover.

        Args:
            observe: Goes over all images, `passes` times at most.
        """

    def choose_grid(self, weight: NDArray[np.float32]) -> WeightGrid:
        """The grid of a convolution's weight (O, I/groups, kh, kw)."""
        return covering_grid(weight)

    def calibrate(
        self,
        onnx_path: Path,
        images: CalibrationImages,
        *,
        input_name: str,
        progress: Progress = SILENT,
    ) -> QuantPlan:
        ir = require("onnx_ir", purpose="Calibration")
        graph = ir.load(onnx_path).graph
        tensors = activations_to_quantize(graph)
        require_work(onnx_path, tensors, images)
        passes = self.passes + self.options.bias_correction
        with progress.stage(f"calibrate by {self.name}", passes * len(images)) as stage:

            def watched() -> Iterator[NDArray[np.float32]]:
                for image in images:
                    yield image
                    stage.advance()

            limits = self.choose_limits(
                lambda: observe_activations(onnx_path, tensors, watched(), input_name)
            )
            weights = {
                node.outputs[0].name: self.choose_grid(constant_of(node.inputs[1]))
                for node in quantizable_convolutions(graph)
            }
            plan = QuantPlan(
                limits, weights=weights, provenance=self._provenance(onnx_path, images)
            )
            if self.options.bias_correction:
                plan = correct_biases(onnx_path, plan, watched(), input_name)
        return plan

    def _provenance(self, onnx_path: Path, images: CalibrationImages) -> Provenance:
        return Provenance(
            method=self.name,
            settings=self.settings(),
            graph_sha256=sha256_of_file(onnx_path),
            images=tuple(sorted(images.identities(), key=lambda identity: identity[1])),
        )


def require_work(onnx_path: Path, tensors: list[str], images: CalibrationImages) -> None:
    """Refuse to calibrate nothing, or on nothing.

    Raises:
        CalibrationError: There is no convolution that can be INT8, or no image.
    """
    if not tensors:
        raise CalibrationError(
            f"{onnx_path.name} has no convolution that can become INT8: that takes constant "
            "weights and another convolution after it. Build with --precision fp32."
        )
    if not len(images):
        raise CalibrationError("No calibration image was given. Name real images with --data.")
