"""Convolutions of codes where they are faster than those of floats."""

from __future__ import annotations

from ..expressions import Tensor
from ..ir import Convolution, Pack, Program, Step

EACH = 4  # channels in an element
# Of one pixel and channel, in products of floats: what packing takes, and what a product saves.
PACKING, SAVED = 4.0, 0.75


def pack_sources(program: Program) -> int:
    """Let dense convolutions that have codes add up products of bytes.

    The others, and all where this pass does not run, compute with the same rounded weights on
    floats that are not rounded.
    """
    count = 0
    packed: dict[tuple[Tensor, float, int], Tensor] = {}
    steps: list[Step] = []
    for step in program.steps:
        if isinstance(step, Convolution) and step.codes is not None and _pays(step):
            codes, source = step.codes, step.source
            key = (source, codes.scale, codes.zero)
            if key not in packed:
                shape = (-(-source.channels // EACH), *source.shape[1:])
                packed[key] = Tensor(f"{source.name}_packed", shape)
                pack = Pack(step.title, source, packed[key], codes.scale, codes.zero)
                steps.append(pack)
            step.source, step.packed = packed[key], True
            count += 1
        steps.append(step)
    program.steps[:] = steps
    return count


def _pays(step: Convolution) -> bool:
    if step.groups != 1 or step.source.channels < EACH - 1:
        return False
    taps = step.window.kernel[0] * step.window.kernel[1]
    strides = step.window.stride[0] * step.window.stride[1]
    return SAVED * len(step.bias) * taps > PACKING * strides
