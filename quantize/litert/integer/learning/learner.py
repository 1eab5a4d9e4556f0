"""Learns the plan of an integer-only model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgeseg.progress import Stage

from ....distillation.end_to_end_stage import EndToEndSettings
from ....distillation.graph import TorchGraph
from ....distillation.learner import PlanLearner
from ....distillation.threads import one_thread
from ...file import TfliteFile
from ..divisors import lift_divisors
from ..grids import Groups, IntegerPlan, Start
from .graph import LOGITS, load_tflite_graph, pixels_of
from .rounding import IntegerRounding, WeightRounding
from .sensitivity import most_sensitive


class IntegerLearner(PlanLearner[IntegerPlan]):
    """Learns the weights and biases of all convolutions together.

    Args:
        graph: The model with lifted divisors.
        reference: The model as it is.
        plan: The plan to begin with.
        images, held: Prepared images, (1, H, W, 3), to learn from and to check with.
        seed: Seed of the order of images.
    """

    def __init__(
        self,
        graph: TorchGraph,
        reference: TorchGraph,
        plan: IntegerPlan,
        images: Sequence[Tensor],
        held: Sequence[Tensor],
        seed: int,
    ) -> None:
        super().__init__(graph, LOGITS, plan, images, held, seed, reference)

    def _rounding(self) -> WeightRounding:
        return WeightRounding(self.graph, self.best_plan)


def widened(start: Start, images: Iterable[NDArray[np.float32]], share: float) -> Groups:
    """The groups, of which a share, 0..1, became int16: those whose rounding matters most."""
    plan = start.plan_of(start.groups)
    graph = _rounded_graph(start.content, plan)
    with one_thread():
        rounding = IntegerRounding(graph, plan)
        found = most_sensitive(graph, start.groups, rounding, _tensors(images), share)
    return replace(start.groups, wide=start.groups.wide | found)


def learn(
    start: Start,
    images: Iterable[NDArray[np.float32]],
    held: Iterable[NDArray[np.float32]],
    settings: EndToEndSettings,
    seed: int,
    stage: Stage,
) -> IntegerPlan:
    """The plan whose weights agree best with the float model on the images that are held back.

    Args:
        images, held: Prepared images, (1, 3, H, W).
        seed: Seed of the order of images.
        stage: Advanced once for each step.
    """
    plan = start.plan_of(start.groups)
    graph = _rounded_graph(start.content, plan)
    reference = load_tflite_graph(TfliteFile(start.content))
    with one_thread():
        learner = IntegerLearner(graph, reference, plan, _tensors(images), _tensors(held), seed)
        learner.learn_end_to_end(settings, stage)
    stage.note(learner.summary())
    return learner.best_plan


def _rounded_graph(content: bytes, plan: IntegerPlan) -> TorchGraph:
    file = TfliteFile(content)
    lift_divisors(file, plan.grids)
    return load_tflite_graph(file)


def _tensors(images: Iterable[NDArray[np.float32]]) -> list[Tensor]:
    return [pixels_of(one) for one in images]
