"""The method `integer`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import (
    CalibrationError,
    EdgesegError,
    UnknownNameError,
    UsageError,
    reason_of,
)
from edgeseg.formats.tflite import TfliteModel, observe_tensors, read_tflite
from edgeseg.lazy import require_installed
from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord
from edgeseg.storage.temporary import temporary_folder

from ...base import MethodOptions, Quantizer
from ...calibration_images import CalibrationImages
from ..ptq import PURPOSE, tensors_of
from .grids import (
    Choose,
    Groups,
    IntegerPlan,
    Seen,
    Start,
    group_tensors,
    least_squares,
    plan_of,
    see_values,
    share_of,
    whole_range,
)
from .kernels import CONVERSIONS, require_kernels
from .writer import IntegerWriter

BEST = "best"
CHECK_IMAGES = 32
SENSED_IMAGES = 8


@dataclass(frozen=True)
class IntegerOptions(MethodOptions):
    """
    Attributes:
        ranges: How ranges are chosen: min-max, percentile, mse, or best, which tries all three.
        percentile: Of the values that a range holds, in percent; as many are cut off at both ends.
        int16: Share, 0..1, of the groups of tensors with one grid that become int16 beside those
            of norms: those whose rounding changes the logits the most.
    """

    ranges: str = BEST
    percentile: float = 99.99
    int16: float = 0.0

    def __post_init__(self) -> None:
        if self.ranges not in (BEST, *self.ways()):
            raise UnknownNameError("way to choose ranges", self.ranges, (BEST, *self.ways()))
        if not 50 < self.percentile <= 100:
            raise UsageError(
                f"The option percentile is {self.percentile:g}; a range holds more than 50 and at "
                "most 100 percent of the values. Give percentile=99.99."
            )
        if not 0 <= self.int16 <= 1:
            raise UsageError(
                f"The option int16 is {self.int16:g}; it is a share of the tensors, from 0 to 1. "
                "Give int16=0.3."
            )

    def ways(self) -> dict[str, Choose]:
        """Each way to choose ranges, by name."""
        return {
            "percentile": share_of(self.percentile / 100),
            "mse": least_squares,
            "min-max": whole_range,
        }


class IntegerQuantizer(Quantizer):
    """Quantizes every operator, as processors without float arithmetic demand.

    Activations are int8 with one scale and zero point for each tensor, but variances and roots of
    norms are int16, and what computes on them takes and gives int16; weights are int8 and
    symmetric, with one scale for each output channel; biases and sums are int32, of operators on
    int16 int64. Float stands at the ends of the model only.

    Source: Jacob et al. 2018, arXiv:1712.05877; for the ranges see `IntegerOptions.ways`.
    """

    name = "integer"
    artifact_format = "tflite"
    packages: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)
    options_class = IntegerOptions
    is_usual: ClassVar[bool] = False
    keeps_statistics: ClassVar[bool] = True
    options: IntegerOptions

    def settings(self) -> dict[str, Any]:
        return {"operators": "all", "weight_granularity": "CHANNELWISE", **self.options.to_json()}

    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        require_installed(self.packages, purpose=PURPOSE)
        path = artifact.folder / artifact.files[0]
        model = read_tflite(path)
        require_kernels(Counter(one.kind for one in model.operators))
        self._require(path, images)
        try:
            groups = group_tensors(model)
            seen = self._see(path, model, groups, images, progress)
            ranges = self._best(path, groups, seen, images, progress)
            choose = self.options.ways()[ranges]
            start = Start(path.read_bytes(), groups, lambda some: plan_of(some, seen, choose))
            plan = self._plan(start, images, progress)
            content = IntegerWriter(start.content, plan).write()
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
        layers = _layers(read_tflite(folder / artifact.files[0]))
        settings = {**self.settings(), "ranges": ranges}
        return artifact.quantized(folder), QuantizationRecord(
            self.name, settings, images.digests, layers
        )

    def _require(self, path: Path, images: CalibrationImages) -> None:
        """Refuse what cannot be done before anything takes time."""
        if self.options.int16:
            self._require_torch(path, images)

    def _require_torch(self, path: Path, images: CalibrationImages) -> None:
        require_installed(("torch",), purpose="What rounding does to logits")
        from .learning.graph import require_equal

        require_equal(path, next(iter(images)))

    def _plan(self, start: Start, images: CalibrationImages, progress: Progress) -> IntegerPlan:
        return start.plan_of(self._widened(start, images, progress))

    def _widened(self, start: Start, images: CalibrationImages, progress: Progress) -> Groups:
        """The groups, more of which are of int16 if that is asked for."""
        if not self.options.int16:
            return start.groups
        from .learning.learner import widened

        with progress.stage("find the tensors that need int16"):
            return widened(start, list(islice(images, SENSED_IMAGES)), self.options.int16)

    def _see(
        self,
        path: Path,
        model: TfliteModel,
        groups: Groups,
        images: CalibrationImages,
        progress: Progress,
    ) -> Seen:
        wanted = tensors_of(model, model.operators)
        with progress.stage("find the range of every tensor", total=2 * len(images)) as stage:

            def observe() -> Iterator[Mapping[int, NDArray[np.float32]]]:
                for values in observe_tensors(path, images, wanted):
                    yield values
                    stage.advance()

            return see_values(groups, observe)

    def _best(
        self,
        path: Path,
        groups: Groups,
        seen: Seen,
        images: CalibrationImages,
        progress: Progress,
    ) -> str:
        """The way to choose ranges that was named, or that flips the fewest pixels."""
        if self.options.ranges != BEST:
            return self.options.ranges
        ways = self.options.ways()
        shown = list(islice(images, CHECK_IMAGES))
        expected = _labels(path, shown)
        flips: dict[str, float] = {}
        with progress.stage("try ways to choose ranges", total=len(ways)) as stage:
            with temporary_folder("integer") as name:
                for way, choose in ways.items():
                    tried = Path(name) / f"{way}.tflite"
                    plan = plan_of(groups, seen, choose)
                    tried.write_bytes(IntegerWriter(path.read_bytes(), plan).write())
                    pairs = zip(_labels(tried, shown), expected, strict=True)
                    flips[way] = float(np.mean([(one != other).mean() for one, other in pairs]))
                    stage.advance()
            best = min(flips, key=lambda way: flips[way])
            stage.note(f"{best} flips the fewest pixels")
        return best


def _layers(model: TfliteModel) -> dict[str, int]:
    """How many operators give int8 and int16, and how many conversions there are."""
    given = Counter(
        model.types[one.outputs[0]] for one in model.operators if one.kind not in CONVERSIONS
    )
    conversions = sum(one.kind in CONVERSIONS for one in model.operators)
    narrow, wide = given["INT8"], given["INT16"]
    others = given.total() - narrow - wide
    return {"int8": narrow, "int16": wide, "float": others, "conversions": conversions}


def _labels(path: Path, images: Sequence[NDArray[np.float32]]) -> list[NDArray[Any]]:
    """The likeliest class of each pixel; one channel is the probability of one class.

    A network's own threshold plays no part: any other line that its maps cross tells as much.
    """
    result = read_tflite(path).operators[-1].outputs[0]
    answers = (values[result] for values in observe_tensors(path, images, [result]))
    return [one > 0.5 if one.shape[-1] == 1 else one.argmax(-1) for one in answers]
