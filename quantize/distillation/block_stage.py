"""The first stage: each block in turn learns to give what it gives in float."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgeseg.progress import Stage

from ..plan.quant_plan import INT8_STEPS
from .graph import TorchGraph
from .partition import Block
from .rounding import Convolution, Rounding

# AdaRound's sigmoid is stretched a little beyond 0..1, so that its ends are reached.
STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
SHARPNESS_FIRST, SHARPNESS_LAST = 20.0, 2.0  # of what draws each weight to one of its two codes
WARM_UP = 0.2  # part of the steps before that begins
ROUNDING_RATE, RANGE_RATE = 1e-2, 1e-3

Frontier = dict[str, Tensor]


@dataclass(frozen=True)
class BlockSettings:
    """
    Attributes:
        steps: For each block, an image each.
        drop: Chance of an element to be the float one in place of the rounded one, 0..1.
        rounding_weight: Of the term that draws weights to whole codes.
    """

    steps: int
    drop: float
    rounding_weight: float = 0.01


def reconstruct_blocks(
    graph: TorchGraph,
    blocks: Sequence[Block],
    rounding: Rounding,
    images: Sequence[Tensor],
    settings: BlockSettings,
    generator: torch.Generator,
    stage: Stage,
) -> None:
    """Learn the codes of weights and the ranges of activations, block by block, in place.

    A block reads what the learned blocks before it give, and gets as close as it can to what it
    gives in the float network. Elements of activations are left in float at random, so that it
    fits a neighbourhood and not the images.

    Args:
        images: Prepared, (1, 3, H, W); what crosses the cut between two blocks is kept of each.
        stage: Advanced once for each block.

    Source: Li et al. 2021, arXiv:2102.05426 (blocks; without the Fisher weights); Wei et al. 2022,
    arXiv:2203.05740 (random drop); Nagel et al. 2020, arXiv:2004.10568 (learned rounding); Esser
    et al. 2019, arXiv:1902.08153 (learned scales).
    """
    exact: list[Frontier] = [{graph.input_name: image} for image in images]
    rounded: list[Frontier] = [dict(frontier) for frontier in exact]
    for block in blocks:
        with torch.no_grad():
            targets = [_advance(graph, block, frontier) for frontier in exact]
        _reconstruct(graph, block, rounding, (exact, rounded, targets), settings, generator)
        with torch.no_grad():
            rounded = [_advance(graph, block, frontier, rounding) for frontier in rounded]
        exact = targets
        stage.advance()


def _advance(
    graph: TorchGraph, block: Block, frontier: Frontier, rounding: Rounding | None = None
) -> Frontier:
    """What is alive after a block, from what was alive before it."""
    made = graph.run(
        {name: frontier[name] for name in block.inputs},
        block.results,
        exchange=rounding.exchange if rounding else None,
        constants=rounding.constants(block.convolutions) if rounding else None,
        steps=block.steps,
    )
    return {name: made[name] if name in made else frontier[name] for name in block.alive}


def _reconstruct(
    graph: TorchGraph,
    block: Block,
    rounding: Rounding,
    frontiers: tuple[list[Frontier], list[Frontier], list[Frontier]],
    settings: BlockSettings,
    generator: torch.Generator,
) -> None:
    exact, rounded, targets = frontiers
    soft = {name: SoftRounding(rounding.convolutions[name]) for name in block.convolutions}
    ranges = _ranges_of(graph, block, rounding)
    optimizer = torch.optim.Adam(
        [
            {"params": [one.logits for one in soft.values()], "lr": ROUNDING_RATE},
            {"params": [limit.requires_grad_() for limit in ranges], "lr": RANGE_RATE},
        ]
    )
    powers = {name: _power(targets, name) for name in block.results}

    def exchange(name: str, value: Tensor) -> Tensor:
        return drop_in(value, rounding.exchange(name, value), settings.drop, generator)

    for step in range(settings.steps):
        index = int(torch.randint(len(exact), (), generator=generator))
        inputs = {
            name: drop_in(exact[index][name], rounded[index][name], settings.drop, generator)
            for name in block.inputs
        }
        constants = {
            **rounding.constants(block.convolutions),
            **{(name, graph.convolutions[name].weight): one.weight() for name, one in soft.items()},
        }
        made = graph.run(inputs, block.results, exchange, constants, block.steps)
        loss = torch.stack(
            [(made[name] - targets[index][name]).square().mean() / powers[name] for name in made]
        ).sum()
        progress = step / settings.steps
        if progress >= WARM_UP:
            sharpness = _sharpness((progress - WARM_UP) / (1 - WARM_UP))
            undecided = torch.stack([one.undecided(sharpness) for one in soft.values()]).sum()
            loss = loss + settings.rounding_weight * undecided
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for limit in ranges:
        limit.requires_grad_(False)
    for name, one in soft.items():
        rounding.convolutions[name] = one.decided()


def drop_in(exact: Tensor, rounded: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Rounded values, at random places the exact ones."""
    if exact is rounded or not chance:
        return rounded
    places = torch.rand(exact.shape, generator=generator) < chance
    return torch.where(places, exact, rounded)


def _ranges_of(graph: TorchGraph, block: Block, rounding: Rounding) -> list[Tensor]:
    """Ranges that the block decides: of what it makes, and of the graph's input for the first."""
    made = {name for step in block.steps for name in step.outputs}
    names = [
        name
        for name in rounding.log_ranges
        if name in made or (name == graph.input_name and name in block.inputs)
    ]
    return [rounding.log_ranges[name] for name in names]


def _power(frontiers: list[Frontier], name: str) -> float:
    """Mean variance of a tensor over the images."""
    variances = [float(frontier[name].var(unbiased=False)) for frontier in frontiers]
    return max(sum(variances) / len(variances), 1e-12)


def _sharpness(progress: float) -> float:
    """From the first to the last along half a cosine."""
    falling = 0.5 * (1 + math.cos(math.pi * progress))
    return SHARPNESS_LAST + (SHARPNESS_FIRST - SHARPNESS_LAST) * falling


class SoftRounding:
    """Each weight somewhere between its lower and its upper code.

    weight = scale * clip(floor(w / scale) + h), h = clip(1.2 sigmoid(v) - 0.1, 0, 1); v is learned.

    Source: Nagel et al. 2020, arXiv:2004.10568, equations 16 and 23. It starts at w itself.
    """

    def __init__(self, convolution: Convolution) -> None:
        self.convolution = convolution
        self.scales = torch.exp(convolution.log_scales).float()
        ratio = convolution.weight / self.scales
        self.floor = torch.floor(ratio)
        part = (ratio - self.floor - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)
        self.logits = torch.logit(part).requires_grad_()

    def upward(self) -> Tensor:
        """h, 0..1: how far each weight is on its way from the lower to the upper code."""
        stretched = torch.sigmoid(self.logits) * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW
        return stretched.clamp(0, 1)

    def weight(self) -> Tensor:
        return (self.floor + self.upward()).clamp(-INT8_STEPS, INT8_STEPS) * self.scales

    def undecided(self, sharpness: float) -> Tensor:
        """Mean of 1 - |2h - 1|^sharpness: 0 when each weight has one of its two codes."""
        return (1 - (2 * self.upward() - 1).abs() ** sharpness).mean()

    def decided(self) -> Convolution:
        """The convolution with the nearer code of each weight."""
        with torch.no_grad():
            quantized = self.floor + (self.upward() >= 0.5)
        return replace(self.convolution, values=quantized.clamp(-INT8_STEPS, INT8_STEPS))
