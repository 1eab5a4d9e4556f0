"""Interfaces of quantisation methods.

A calibrator turns the float ONNX graph and images into a plan, and an emitter writes the plan into
an artefact. A vendor quantiser does both in its own way, without a plan.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeseg.errors import UsageError
from edgeseg.options import Options
from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord

from .calibration_images import CalibrationImages
from .plan.quant_plan import QuantPlan


@dataclass(frozen=True)
class MethodOptions(Options):
    """Options of a method (--method-option NAME=VALUE); this base has none."""

    def _require_share(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UsageError(
                    f"The option {name} is {value}; it is a share, from 0 to below 1. Give "
                    f"{name}={getattr(type(self), name)}."
                )

    def _require_least(self, **least: int) -> None:
        for name, bound in least.items():
            value = getattr(self, name)
            if value < bound:
                raise UsageError(
                    f"The option {name} is {value}; it is at least {bound}. Give "
                    f"{name}={getattr(type(self), name)}."
                )


class Method(abc.ABC):
    """A quantisation method.

    Attributes:
        name: Registered name.
        packages: Import names of the packages that it needs.
        options_class: Class of its options.
        keeps_statistics: Whether its graph must compute the statistics of norms as the network
            does, as their convolutions would be rounded.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    options_class: ClassVar[type[MethodOptions]] = MethodOptions
    keeps_statistics: ClassVar[bool] = False

    def __init__(self, options: MethodOptions | None = None) -> None:
        self.options = options if options is not None else self.options_class()

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All settings that change the result, for the manifest and the cache key."""


class Quantizer(Method):
    """A vendor quantiser: a tool that turns a float artefact into an INT8 one of the same format.

    Attributes:
        artifact_format: Format of the artefacts that it reads and writes.
        is_usual: Whether builds and searches try it where no method is named.
        comparable_options: Options with which it quantises the same operators as plans do, for
            comparisons with calibrators.
    """

    artifact_format: ClassVar[str]
    is_usual: ClassVar[bool] = True
    comparable_options: ClassVar[Mapping[str, str]] = {}

    @abc.abstractmethod
    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        """Write the INT8 artefact to `folder`; its `runtime` is that of the float artefact.

        Raises:
            CalibrationError: The backend cannot quantise the graph.
        """


class Calibrator(Method):
    """Chooses ranges, weights and biases for a float ONNX graph."""

    @abc.abstractmethod
    def calibrate(
        self,
        onnx_path: Path,
        images: CalibrationImages,
        progress: Progress = SILENT,
    ) -> QuantPlan:
        """Make a plan for all convolutions that can be INT8.

        The order of the images does not change the plan.

        Raises:
            CalibrationError: There is no image, no convolution that can be INT8, or an activation
                without a usable range.
        """


class Emitter(abc.ABC):
    """Writes a plan into a float artefact of one format.

    Attributes:
        artifact_format: Format of the artefacts that it reads and writes.
        packages: Import names of the packages that it needs.
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
        """Write the INT8 artefact to `folder`; its `runtime` is that of the float artefact.

        Args:
            plan: The plan for `onnx_path`.
            onnx_path: The float graph.
            artifact: The same network in float; for the format "onnx" the graph itself.
            images: Real images, with which tensors are matched if the formats differ.

        Returns:
            The artefact, and counts of its layers, such as the number of INT8 convolutions.

        Raises:
            CalibrationError: The plan does not fit the artefact.
        """
