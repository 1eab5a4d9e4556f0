"""The method `integer`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError, EdgesegError, UsageError, reason_of
from edgeseg.formats.tflite import observe_tensors, read_tflite
from edgeseg.lazy import require_installed
from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord

from ...base import MethodOptions, Quantizer
from ...calibration_images import CalibrationImages
from .grids import activations_of, choose_grids, group_tensors
from .writer import CONVERSIONS, IntegerWriter, require_kernels

PURPOSE = "Quantising for litert"


@dataclass(frozen=True)
class IntegerOptions(MethodOptions):
    """
    Attributes:
        percentile: Of the values that a range holds, in percent; as many are cut off at both ends.
    """

    percentile: float = 99.99

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise UsageError(
                f"The option percentile is {self.percentile:g}; a range holds more than 50 and at "
                "most 100 percent of the values. Give percentile=99.99."
            )


class IntegerQuantizer(Quantizer):
    """Quantizes every operator, as processors without float arithmetic demand.

    Activations are int8 with one scale and zero point for each tensor; weights are int8 and
    symmetric, with one scale for each output channel; biases and sums are int32. Float stands at
    the ends of the model only.

    Source: Jacob et al. 2018, arXiv:1712.05877; the ranges see `choose_grids`.
    """

    name = "integer"
    artifact_format = "tflite"
    packages = ("ai_edge_litert",)
    options_class = IntegerOptions
    is_usual: ClassVar[bool] = False
    options: IntegerOptions

    def settings(self) -> dict[str, Any]:
        return {"operators": "all", "weight_granularity": "CHANNELWISE", **self.options.to_json()}

    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Any,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        require_installed(self.packages, purpose=PURPOSE)
        path = artifact.folder / artifact.files[0]
        model = read_tflite(path)
        require_kernels(Counter(one.kind for one in model.operators))
        groups = group_tensors(model)
        wanted = activations_of(model.operators, model.constants)
        with progress.stage("find the range of every tensor", total=2 * len(images)) as stage:

            def observe() -> Iterator[Mapping[int, NDArray[np.float32]]]:
                for values in observe_tensors(path, images, wanted):
                    yield {index: values[index] for index in wanted if index in values}
                    stage.advance()

            try:
                grids = choose_grids(groups, observe, self.options.percentile / 100)
                content = IntegerWriter(path.read_bytes(), grids).write()
            except EdgesegError:
                raise
            except Exception as error:
                # The interpreter raises plain kinds.
                raise CalibrationError(
                    f"{path.name} cannot become a model of integers: {reason_of(error)}. Leave "
                    "--method out."
                ) from error
        folder.mkdir(parents=True, exist_ok=True)
        (folder / artifact.files[0]).write_bytes(content)
        kinds = Counter(one.kind for one in read_tflite(folder / artifact.files[0]).operators)
        conversions = sum(kinds[kind] for kind in CONVERSIONS)
        layers = {"int8": sum(kinds.values()) - conversions, "float": 0, "conversions": conversions}
        return artifact.quantized(folder), QuantizationRecord(
            self.name, self.settings(), images.digests, layers
        )
