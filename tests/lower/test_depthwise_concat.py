"""Concatenated results of depthwise convolutions: one convolution after the concatenation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.depthwise import (
    depthwise_after_concat,
    depthwise_of_copies,
)

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


NEAR = "group = 4, pads = [1,1,1,1]"
FAR = "group = 4, dilations = [2,2], pads = [2,2,2,2]"
MAPS = {"x": (1, 4, 8, 8), "z": (1, 4, 8, 8)}
WEIGHTS = {"v": draw(4, 1, 3, 3), "w": draw(4, 1, 3, 3, seed=1), "b": draw(4)}


@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=3),
    steps=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    strides=st.integers(1, 2),
)
@settings(max_examples=12, deadline=None)
def test_kernels_become_sums(sizes: list[int], steps: list[int], strides: int) -> None:
    maps = {f"x{index}": (1, size, 7, 8) for index, size in enumerate(sizes)}
    parts, constants = [], {}
    for index, (size, step) in enumerate(zip(sizes, steps, strict=False)):
        parts.append(
            f"p{index} = Conv<group = {size}, dilations = [{step},{step}], "
            f"strides = [{strides},{strides}], pads = [{step},{step},{step},{step}]>"
            f"(x{index}, w{index}, b{index})"
        )
        constants[f"w{index}"] = draw(size, 1, 3, 3, seed=index)
        constants[f"b{index}"] = draw(size, seed=index)
    names = ", ".join(f"p{index}" for index in range(len(sizes)))
    model = graph(f"{' '.join(parts)} y = Concat<axis = 1>({names})", constants, inputs=maps)
    kinds = len(set(steps[: len(sizes)]))
    left = {"Concat": 1, "Conv": kinds, **({"Add": kinds - 1} if kinds > 1 else {})}
    rewritten(depthwise_after_concat, model, left)


def test_parts_may_be_running_sums() -> None:
    # As in MiniSeg: each dilation's result is added to those before.
    model = graph(
        f"m = Conv(x, k, b) d1 = Conv<{NEAR}>(m, v) d2 = Conv<{FAR}>(m, w, b) "
        "s = Add(d1, d2) y = Concat<axis = 1>(d1, s)",
        {**WEIGHTS, "k": draw(4, 4, 1, 1)},
    )
    rewritten(depthwise_of_copies, model, {"Conv": 3, "Add": 1})
    left_alone(depthwise_after_concat, model)


def test_different_maps_are_no_copies() -> None:
    model = graph(
        f"p = Conv<{NEAR}>(x, v) q = Conv<{NEAR}>(z, w) y = Concat<axis = 1>(p, q)",
        WEIGHTS,
        inputs=MAPS,
    )
    left_alone(depthwise_of_copies, model)


@pytest.mark.parametrize(
    "body",
    [
        # one part is no depthwise convolution
        f"p = Conv<{NEAR}>(x, v) q = Relu(z) y = Concat<axis = 1>(p, q)",
        f"p = Conv<{NEAR}>(x, v) q = Conv<pads = [1,1,1,1]>(z, dense) y = Concat<axis = 1>(p, q)",
        f"p = Conv<{NEAR}>(x, v) q = Conv<group = 4>(z, point) y = Concat<axis = 1>(p, q)",
        f"p = Conv<{NEAR}>(x, v) q = Conv<group = 4, pads = [1,1,1,1]>(z, more) "
        "y = Concat<axis = 1>(p, q)",
        # a part of two maps
        f"p = Conv<{NEAR}>(x, v) q = Conv<{NEAR}>(z, w) s = Add(p, q) y = Concat<axis = 1>(p, s)",
        # one map would have to be copied
        f"p = Conv<{NEAR}>(x, v) q = Conv<{NEAR}>(x, w) y = Concat<axis = 1>(p, q)",
        f"p = Conv<{NEAR}>(x, v) q = Conv<{NEAR}>(x, w) r = Conv<{NEAR}>(z, w) "
        "y = Concat<axis = 1>(p, q, r)",
        # over rows, and of one part
        f"p = Conv<{NEAR}>(x, v) q = Conv<{NEAR}>(z, w) y = Concat<axis = 2>(p, q)",
        f"p = Conv<{NEAR}>(x, v) y = Concat<axis = 1>(p)",
    ],
)
def test_other_concatenations_stay(body: str) -> None:
    constants = {
        **WEIGHTS,
        "dense": draw(4, 4, 3, 3),
        "point": draw(4, 1, 1, 1),
        "more": draw(8, 1, 3, 3),
    }
    for rewrite in (depthwise_after_concat, depthwise_of_copies):
        left_alone(rewrite, graph(body, constants, inputs=MAPS))


def test_maps_of_two_sizes_are_not_joined() -> None:
    model = graph(
        f"p = Conv<{NEAR}>(x, v) q = Conv<group = 4>(z, w) y = Concat<axis = 1>(p, q)",
        WEIGHTS,
        inputs={"x": (1, 4, 8, 8), "z": (1, 4, 10, 10)},
    )
    left_alone(depthwise_after_concat, model)


def test_maps_of_unknown_size_are_not_joined() -> None:
    model = graph(
        f"p = Conv<{NEAR}>(x, v) q = Conv<{NEAR}>(z, w) y = Concat<axis = 1>(p, q)",
        WEIGHTS,
        inputs={"x": (1, 4, "height", 8), "z": (1, 4, "height", 8)},
    )
    left_alone(depthwise_after_concat, model)
