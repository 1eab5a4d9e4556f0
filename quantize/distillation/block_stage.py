"""The first stage: each block in turn learns to compute what it computes in float."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgeseg.progress import Stage

from .graph import TorchGraph
from .partition import Block
from .rounding import Convolution, Rounding

# AdaRound's sigmoid is stretched a little beyond 0..1, so that its ends are reached.
STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
SHARPNESS_FIRST, SHARPNESS_LAST = 20.0, 2.0  # of the term that rounds weights up or down
WARM_UP = 0.2  # share of the steps before that term begins
ROUNDING_RATE, RANGE_RATE = 1e-2, 1e-3

Frontier = dict[str, Tensor]


@dataclass(frozen=True)
class BlockSettings:
    """
    Attributes:
        steps: Steps for each block, with one image each.
        drop: Probability, 0..1, that an element keeps its float value.
        rounding_weight: Weight of the term that rounds weights up or down.
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
    """Learn quantized weights and ranges of activations, block by block, in place.

    A block reads the outputs of the learned blocks before it, and learns to come close to its
    outputs in the FP32 reference. Random elements of activations stay in float, so that the block
    fits a neighbourhood and not only the images.

    Args:
        images: Prepared images, (1, 3, H, W); the tensors that cross the cut between two blocks
            are kept for each image.
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
    """The tensors that are alive after a block, from those that are alive before it."""
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
    """Rounded values, with exact values at random places."""
    if exact is rounded or not chance:
        return rounded
    places = torch.rand(exact.shape, generator=generator) < chance
    return torch.where(places, exact, rounded)


def _ranges_of(graph: TorchGraph, block: Block, rounding: Rounding) -> list[Tensor]:
    """Ranges that the block learns: of its own tensors, and in the first block of the input."""
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
    """Sharpness at a progress of 0..1: falls along half a cosine."""
    falling = 0.5 * (1 + math.cos(math.pi * progress))
    return SHARPNESS_LAST + (SHARPNESS_FIRST - SHARPNESS_LAST) * falling


class SoftRounding:
    """Weights between their lower and their upper quantized value.

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
        """h, 0..1: position of each weight between the lower and the upper quantized value."""
        stretched = torch.sigmoid(self.logits) * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW
        return stretched.clamp(0, 1)

    def weight(self) -> Tensor:
        return self.convolution.clipped(self.floor + self.upward()) * self.scales

    def undecided(self, sharpness: float) -> Tensor:
        """Mean of 1 - |2h - 1|^sharpness: 0 if each weight has one of its two quantized values."""
        return (1 - (2 * self.upward() - 1).abs() ** sharpness).mean()

    def decided(self) -> Convolution:
        """The convolution with the nearer quantized value of each weight."""
        with torch.no_grad():
            quantized = self.floor + (self.upward() >= 0.5)
        return replace(self.convolution, values=self.convolution.clipped(quantized))
