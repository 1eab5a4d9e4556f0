"""The calibrator `distill`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgeseg.lazy import require
from edgeseg.progress import SILENT, Progress

from ..base import Calibrator, MethodOptions
from ..calibration_images import CalibrationImages
from ..calibrators.mse import MseCalibrator
from ..calibrators.range_calibrator import RangeOptions
from ..plan.older_plans import RENAMED_OPTIONS
from ..plan.quant_plan import QuantPlan
from ..plan.weight_grids import steps_of_bits

if TYPE_CHECKING:
    from .learner import Learner


@dataclass(frozen=True)
class DistillOptions(MethodOptions):
    """
    Attributes:
        seed: Seed of the order of images and of the elements that stay in float at random.
        zero_points, quantize_outputs, quantize_depthwise_outputs, weight_bits: See `RangeOptions`.
        held_back: Share of the images, 0..1, that only decides which plan is kept.
        block_images: Largest number of images in the first stage, which keeps activations of each.
        block_steps: Steps of the first stage for each block, with one image each; 0 skips the
            stage.
        steps: Steps of the second stage; 0 skips it.
        batch: Images in each step of the second stage.
        drop: Probability, 0..1, that an element stays in float in the first stage.
        band_weight: Weight of uncertain pixels in the loss of the second stage.
    """

    aliases: ClassVar[Mapping[str, str]] = RENAMED_OPTIONS
    seed: int = 0
    zero_points: bool = False
    quantize_outputs: bool = True
    quantize_depthwise_outputs: bool = False
    weight_bits: int = 8
    held_back: float = 0.25
    block_images: int = 32
    block_steps: int = 60
    steps: int = 160
    batch: int = 4
    drop: float = 0.5
    band_weight: float = 10.0

    def __post_init__(self) -> None:
        steps_of_bits(self.weight_bits)
        self._require_share("held_back", "drop")
        self._require_least(block_images=1, batch=1, block_steps=0, steps=0)


class DistillCalibrator(Calibrator):
    """Learns the plan with which the network agrees best with the FP32 reference.

    It starts from ranges and weights of least squared error and corrected biases. Two stages change
    them: block by block (`block_stage.py`), and all at once from the predictions of the reference
    (`end_to_end_stage.py`). Held-back images decide after each stage whether its result is kept, so
    that the plan is never worse on them than at the start. No labels are needed.

    All of it runs on one thread, so that equal seeds give equal plans.
    """

    name = "distill"
    packages = ("torch", "onnx", "onnx_ir", "onnxruntime")
    options_class = DistillOptions
    options: DistillOptions

    def settings(self) -> dict[str, Any]:
        return self.options.to_json()

    def calibrate(
        self,
        onnx_path: Path,
        images: CalibrationImages,
        progress: Progress = SILENT,
    ) -> QuantPlan:
        require("torch", purpose="Distillation")
        from .learner import Learner
        from .threads import one_thread

        learned, held = images.divided(self.options.held_back)
        begin = MseCalibrator(
            RangeOptions(
                bias_correction=True,
                zero_points=self.options.zero_points,
                quantize_outputs=self.options.quantize_outputs,
                quantize_depthwise_outputs=self.options.quantize_depthwise_outputs,
                weight_bits=self.options.weight_bits,
            )
        ).calibrate(onnx_path, learned, progress)
        with one_thread():
            steps = steps_of_bits(self.options.weight_bits)
            learner = Learner(onnx_path, begin, list(learned), list(held), self.options.seed, steps)
            self._learn(learner, progress)
        provenance = replace(
            begin.provenance,
            method=self.name,
            settings=self.settings(),
            images=tuple(sorted(images.digests)),
            seed=self.options.seed,
            agreement=learner.agreement(),
        )
        return replace(learner.best_plan, provenance=provenance)

    def _learn(self, learner: Learner, progress: Progress) -> None:
        options = self.options
        if options.block_steps:
            from .block_stage import BlockSettings

            settings = BlockSettings(options.block_steps, options.drop)
            with progress.stage("learn block by block", total=len(learner.blocks)) as stage:
                learner.learn_blocks(settings, options.block_images, stage)
                stage.note(learner.summary())
        if options.steps:
            from .end_to_end_stage import EndToEndSettings

            end_to_end = EndToEndSettings(options.steps, options.batch, options.band_weight)
            with progress.stage("learn from the FP32 reference", total=options.steps) as stage:
                learner.learn_end_to_end(end_to_end, stage)
                stage.note(learner.summary())
