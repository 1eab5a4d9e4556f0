"""What every way to quantise offers.

A calibrator decides, in terms of the float ONNX graph, and gives a plan; an emitter writes the plan
into an artefact. A quantiser is a tool that does both in its own way, and has no plan to show.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeseg.options import Options
from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord

from .calibration_images import CalibrationImages
from .plan.quant_plan import QuantPlan


@dataclass(frozen=True)
class MethodOptions(Options):
    """Base of what can be chosen for a method with --method-option NAME=VALUE: nothing."""


class Method(abc.ABC):
    """A way to quantise, found by name.

    Attributes:
        name: As registered.
        packages: Import names that it needs.
        options_class: What may be chosen.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    options_class: ClassVar[type[MethodOptions]] = MethodOptions

    def __init__(self, options: MethodOptions | None = None) -> None:
        self.options = options if options is not None else self.options_class()

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All settings that decide the result, for the record and the cache key."""


class Quantizer(Method):
    """A vendor quantiser: a tool that turns a float artefact into an INT8 one of the same format.

    Attributes:
        artifact_format: Format of the artefacts that it reads and writes.
        comparable_options: Options with which it quantises the same operators as plans do, for
            comparisons with calibrators.
    """

    artifact_format: ClassVar[str]
    comparable_options: ClassVar[Mapping[str, str]] = {}

    @abc.abstractmethod
    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        """Write the INT8 artefact to `folder`; `runtime` is left as the float one's.

        Raises:
            CalibrationError: The backend cannot quantise the graph.
        """


class Calibrator(Method):
    """Decides on ranges, weights and biases for a float ONNX graph."""

    @abc.abstractmethod
    def calibrate(
        self,
        onnx_path: Path,
        images: CalibrationImages,
        progress: Progress = SILENT,
    ) -> QuantPlan:
        """Make a plan for all convolutions that can be INT8.

        The order of the images does not change it.

        Raises:
            CalibrationError: No image, no convolution that can be INT8, or values that no range
                fits.
        """


class Emitter(abc.ABC):
    """Writes a plan into a float artefact of one format.

    Attributes:
        artifact_format: Of what it takes and gives.
        packages: Import names that it needs.
    """

    artifact_format: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def emit(
        self,
        plan: QuantPlan,
        onnx_path: Path,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
    ) -> tuple[Artifact, dict[str, int]]:
        """Write the INT8 artefact to `folder`; `runtime` is left as the float one's.

        Args:
            plan: Made for `onnx_path`.
            onnx_path: The float graph.
            artifact: The same network in float; for the format "onnx" the graph itself.
            images: Real ones, by which tensors of the two are matched where formats differ.

        Returns:
            The artefact, and what is known of it, such as how many convolutions are INT8.

        Raises:
            CalibrationError: The plan does not fit the artefact.
        """
