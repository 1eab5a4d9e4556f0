"""Cuts a graph into blocks, which are learned one after the other."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from .graph import Step, TorchGraph

LARGEST_BLOCK = 6  # number of convolutions that can be INT8


@dataclass(frozen=True)
class Block:
    """Consecutive steps.

    Attributes:
        steps: The steps in their order.
        convolutions: Output names of the convolutions that can be INT8.
        inputs: Tensors of earlier steps that the block reads.
        results: Tensors that the block computes and later steps read.
        alive: All tensors that later steps read.
    """

    steps: tuple[Step, ...]
    convolutions: tuple[str, ...]
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    alive: tuple[str, ...]


def cut_into_blocks(graph: TorchGraph) -> list[Block]:
    """Blocks of one to `LARGEST_BLOCK` INT8 convolutions, cut where the fewest tensors cross.

    Steps before the first INT8 convolution belong to the first block, and steps after the last one
    to the last block.
    """
    alive = _alive_before(graph)
    seen = [0]  # INT8 convolutions before each step
    for step in graph.steps:
        seen.append(seen[-1] + (step.name in graph.convolutions))
    # By dynamic programming: cost[end] sums the tensors that cross all cuts up to `end`.
    cost: list[float] = [0.0]
    came_from = [0]
    for end in range(1, len(graph.steps) + 1):
        choices = [
            (cost[begin] + len(alive[end]), begin)
            for begin in range(end)
            if 1 <= seen[end] - seen[begin] <= LARGEST_BLOCK and cost[begin] < math.inf
        ]
        least, begin = min(choices, default=(math.inf, 0))
        cost.append(least)
        came_from.append(begin)
    cuts = [len(graph.steps)]
    while cuts[-1] > 0:
        cuts.append(came_from[cuts[-1]])
    cuts.reverse()
    return [_block(graph, begin, end, alive) for begin, end in itertools.pairwise(cuts)]


def _alive_before(graph: TorchGraph) -> list[tuple[str, ...]]:
    """Tensors that are alive before the first step, between steps, and after the last step."""
    alive: dict[str, None] = dict.fromkeys(graph.output_names)
    found = [tuple(alive)]
    for step in reversed(graph.steps):
        for name in step.outputs:
            alive.pop(name, None)
        alive.update(dict.fromkeys(n for n in step.inputs if n and n not in graph.constants))
        found.append(tuple(alive))
    return found[::-1]


def _block(graph: TorchGraph, begin: int, end: int, alive: list[tuple[str, ...]]) -> Block:
    steps = graph.steps[begin:end]
    made = {name for step in steps for name in step.outputs}
    read = {name for step in steps for name in step.inputs}
    return Block(
        steps=steps,
        convolutions=tuple(step.name for step in steps if step.name in graph.convolutions),
        inputs=tuple(name for name in alive[begin] if name in read),
        results=tuple(name for name in alive[end] if name in made),
        alive=alive[end],
    )
