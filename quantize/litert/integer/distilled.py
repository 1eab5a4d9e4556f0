"""The method `integer-distill`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeseg.progress import Progress

from ...calibration_images import CalibrationImages
from .grids import IntegerPlan, Start
from .quantizer import IntegerOptions, IntegerQuantizer


@dataclass(frozen=True)
class DistilledIntegerOptions(IntegerOptions):
    """
    Attributes:
        ranges, percentile, int16: See `IntegerOptions`; where learning begins.
        seed: Seed of the order of images.
        held_back: Share of the images, 0..1, that is not learned from and decides which plan is
            kept; their activations are not rounded either.
        steps: Steps of learning.
        batch: Images in each step.
        band_weight: Weight of uncertain pixels in the loss.
    """

    seed: int = 0
    held_back: float = 0.25
    steps: int = 100
    batch: int = 2
    band_weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share("held_back")
        self._require_least(batch=1, steps=1)


class DistilledIntegerQuantizer(IntegerQuantizer):
    """`integer` whose weights and biases learn the float model's predictions.

    Activations are rounded afterwards, by the ranges of `integer`: see `WeightRounding`. Held-back
    images decide whether what was learned is kept. No labels are needed. It runs on one thread, so
    that equal seeds give equal files.

    Source: see `distil`.
    """

    name = "integer-distill"
    packages = ("ai_edge_litert", "torch")
    options_class = DistilledIntegerOptions
    options: DistilledIntegerOptions

    def _require(self, path: Path, images: CalibrationImages) -> None:
        images.divided(self.options.held_back)  # refuses too few
        self._require_torch(path, images)

    def _plan(self, start: Start, images: CalibrationImages, progress: Progress) -> IntegerPlan:
        from ...distillation.end_to_end_stage import EndToEndSettings
        from .learning.learner import learn

        options = self.options
        learned, held = images.divided(options.held_back)
        groups = self._widened(start, learned, progress)
        settings = EndToEndSettings(options.steps, options.batch, options.band_weight)
        with progress.stage("learn weights from the float model", total=options.steps) as stage:
            return learn(
                replace(start, groups=groups), learned, held, settings, options.seed, stage
            )
