"""The second stage: the whole network learns the predictions of the FP32 reference."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from edgeseg.progress import Stage

from .graph import TorchGraph
from .loss import distillation_loss

AVERAGING = 0.97  # of the moving average of the parameters, which is checked and kept


@dataclass(frozen=True)
class EndToEndSettings:
    """
    Attributes:
        steps: Number of steps.
        batch: Images in each step.
        band_weight: See `distillation_loss`.
    """

    steps: int
    batch: int
    band_weight: float


class Learnable(Protocol):
    """Rounding whose grids can be learned."""

    def exchange(self, name: str, value: Tensor) -> Tensor:
        """Round an activation; see `graph.Exchange`."""

    def constants(self) -> Mapping[tuple[str, str], Tensor]:
        """(step, constant) -> what the step reads in its place; see `TorchGraph.run`."""

    def parameters(self) -> list[dict[str, Any]]:
        """What is learned, as groups of an optimizer with the rate of each, in log or real units
        of their own.
        """


def distil(
    graph: TorchGraph,
    rounding: Learnable,
    images: Sequence[Tensor],
    predictions: Sequence[Tensor],
    head: str,
    settings: EndToEndSettings,
    generator: torch.Generator,
    check: Callable[[], bool],
    interval: int,
    stage: Stage,
) -> None:
    """Learn quantized weights, scales, ranges and biases together, in place.

    Args:
        images: Prepared images, as the graph takes them.
        predictions: Logits of the FP32 reference for each image.
        head: Name of the tensor with the logits.
        check: Called after every `interval` steps; false ends the stage.
        stage: Advanced once for each step.

    Source: Esser et al. 2019, arXiv:1902.08153 (learned scales, with weights that move behind a
    straight-through rounding); distillation from the float network as in arXiv:2601.20088.
    """
    groups = rounding.parameters()
    values = [value for group in groups for value in group["params"]]
    for value in values:
        value.requires_grad_()
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    )
    averages = [value.detach().clone() for value in values]
    order: list[int] = []
    for step in range(settings.steps):
        optimizer.zero_grad()
        for _ in range(settings.batch):
            if not order:
                order = torch.randperm(len(images), generator=generator).tolist()
            index = order.pop()
            made = graph.run(
                {graph.input_name: images[index]}, [head], rounding.exchange, rounding.constants()
            )
            loss = distillation_loss(made[head], predictions[index], settings.band_weight)
            (loss / settings.batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value.detach(), 1 - AVERAGING)
        stage.advance()
        if (step + 1) % interval == 0:
            with _exchanged(values, averages):
                goes_on = check()
            if not goes_on:
                break
    for value in values:
        value.requires_grad_(False)


@contextlib.contextmanager
def _exchanged(values: Sequence[Tensor], others: Sequence[Tensor]) -> Iterator[None]:
    """Let tensors hold other contents within the context."""
    kept = [value.detach().clone() for value in values]
    with torch.no_grad():
        for value, other in zip(values, others, strict=True):
            value.copy_(other)
        yield
        for value, content in zip(values, kept, strict=True):
            value.copy_(content)
