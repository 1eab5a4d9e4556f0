"""Runs the stages and keeps the best plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeseg.progress import Stage

from ..plan.quant_plan import INT8_STEPS, QuantPlan
from .block_stage import BlockSettings, reconstruct_blocks
from .end_to_end_stage import EndToEndSettings, Learnable, distil
from .graph import TorchGraph, load_graph, require_equal
from .loss import count_flips, distillation_loss, logits_of
from .partition import Block, cut_into_blocks
from .rounding import Rounding

CHECKS = 8  # number of checks in the second stage
PATIENCE = 5  # checks without a better result before the second stage ends
Plan = TypeVar("Plan")
Made = TypeVar("Made", covariant=True)


class Learned(Learnable, Protocol[Made]):
    """Rounding that has been learned."""

    def to_plan(self) -> Made:
        """The plan as it was learned."""


@dataclass(frozen=True)
class Score:
    """Agreement with the FP32 reference on held-back images.

    Attributes:
        flips_per_10k: Pixels per 10,000 whose label differs, mean over images.
        loss: Mean of `distillation_loss` over images.
    """

    flips_per_10k: float
    loss: float

    def is_better_than(self, other: Score) -> bool:
        """Fewer flips are better; ties go to the smaller loss. NaN is never better."""
        mine, others = (self.flips_per_10k, self.loss), (other.flips_per_10k, other.loss)
        return bool(np.isfinite(mine).all()) and mine < others


class PlanLearner(ABC, Generic[Plan]):
    """A plan that is being learned, and the best plan so far.

    Args:
        graph: The network to be rounded.
        head: Its tensor with the logits, (1, C, H, W).
        plan: The plan to begin with.
        images, held: What the graph takes, to learn from and to check with.
        seed: Seed of all random numbers.
        reference: The FP32 reference, with a tensor of that name, where it is not the graph itself.
    """

    def __init__(
        self,
        graph: TorchGraph,
        head: str,
        plan: Plan,
        images: Sequence[Tensor],
        held: Sequence[Tensor],
        seed: int,
        reference: TorchGraph | None = None,
    ) -> None:
        self.graph = graph
        self.head = head
        self.images = images
        self.held = held
        self._reference = reference or graph
        self.predictions = [self._predict(image) for image in self.images]
        self.held_predictions = [self._predict(image) for image in self.held]
        self.generator = torch.Generator().manual_seed(seed)
        self.best_plan = plan
        self.begin = self.best = self._score(self._rounding())

    @abstractmethod
    def _rounding(self) -> Learned[Plan]:
        """The best plan, to be learned from there."""

    def learn_end_to_end(self, settings: EndToEndSettings, stage: Stage) -> None:
        """The second stage, from the best plan so far; the best checked state is kept."""
        rounding = self._rounding()
        failures = 0

        def check() -> bool:
            nonlocal failures
            failures = 0 if self._offer(rounding) else failures + 1
            stage.note(self.summary())
            return failures < PATIENCE

        distil(
            self.graph,
            rounding,
            self.images,
            self.predictions,
            self.head,
            settings,
            self.generator,
            check,
            max(settings.steps // CHECKS, 1),
            stage,
        )

    def agreement(self) -> dict[str, float]:
        """Agreement at the start and at the end, for the plan's provenance."""
        return {
            "held_back_images": len(self.held),
            "flips_per_10k_at_start": self.begin.flips_per_10k,
            "flips_per_10k": self.best.flips_per_10k,
            "loss_at_start": self.begin.loss,
            "loss": self.best.loss,
        }

    def summary(self) -> str:
        return (
            f"{self.begin.flips_per_10k:.1f} -> {self.best.flips_per_10k:.1f} of 10,000 held-back "
            "pixels flip"
        )

    def _offer(self, rounding: Learned[Plan]) -> bool:
        """Keep the learned plan if it is better than the best so far."""
        score = self._score(rounding)
        if not score.is_better_than(self.best):
            return False
        self.best, self.best_plan = score, rounding.to_plan()
        return True

    def _predict(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return self._reference.run({self.graph.input_name: image}, [self.head])[self.head]

    def _score(self, rounding: Learned[Plan]) -> Score:
        flips, losses = [], []
        with torch.no_grad():
            constants = rounding.constants()
            for image, prediction in zip(self.held, self.held_predictions, strict=True):
                made = self.graph.run(
                    {self.graph.input_name: image}, [self.head], rounding.exchange, constants
                )[self.head]
                flips.append(count_flips(made, prediction))
                losses.append(float(distillation_loss(made, prediction, band_weight=0.0)))
        return Score(float(np.mean(flips)), float(np.mean(losses)))


class Learner(PlanLearner[QuantPlan]):
    """Learns the plan of an ONNX file.

    Args:
        plan: The plan to begin with.
        images, held: Prepared images, (1, 3, H, W), to learn from and to check with.
        seed: Seed of all random numbers.
        weight_steps: Largest quantized value of a weight.
    """

    def __init__(
        self,
        onnx_path: Path,
        plan: QuantPlan,
        images: Sequence[NDArray[np.float32]],
        held: Sequence[NDArray[np.float32]],
        seed: int,
        weight_steps: int = INT8_STEPS,
    ) -> None:
        self.weight_steps = weight_steps
        graph = load_graph(onnx_path)
        require_equal(graph, onnx_path, images[0])
        learned, checked = ([torch.from_numpy(one) for one in part] for part in (images, held))
        super().__init__(graph, logits_of(graph, onnx_path.name), plan, learned, checked, seed)

    def _rounding(self) -> Rounding:
        return Rounding(self.graph, self.best_plan, self.weight_steps)

    @cached_property
    def blocks(self) -> list[Block]:
        return cut_into_blocks(self.graph)

    def learn_blocks(self, settings: BlockSettings, most_images: int, stage: Stage) -> None:
        """The first stage; its result is kept only if it is better."""
        rounding = self._rounding()
        images = self.images[:most_images]
        reconstruct_blocks(
            self.graph, self.blocks, rounding, images, settings, self.generator, stage
        )
        self._offer(rounding)
