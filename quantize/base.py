"""What every quantiser offers."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, ClassVar

from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord

from .calibration_images import CalibrationImages


class Quantizer(abc.ABC):
    """Makes an INT8 network from a float one of the same format: ONNX, or a target's artefact.

    Attributes:
        name: As registered.
        artifact_format: Format of artefact that it takes and gives.
        packages: Import names that it needs.
    """

    name: ClassVar[str]
    artifact_format: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All settings that decide the result, for the record and the cache key."""

    @abc.abstractmethod
    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        *,
        input_name: str,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        """Write the INT8 artefact to `folder`; `runtime` is left as the float one's.

        Raises:
            CalibrationError: The backend cannot quantise the graph.
        """
