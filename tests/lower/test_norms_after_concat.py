from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import Arrays, draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.norms_after_concat import norms_after_concat

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

SIDE_BY_SIDE = {"Conv": 3, "Mul": 2, "Sqrt": 1, "Reciprocal": 1, "Add": 1}


def norm(source: str, index: int) -> str:
    """LayerNorm number `index` over the channels of `source`, z0 and so on."""
    i = index
    return (
        f"m{i} = ReduceMean({source}, axes) c{i} = Sub({source}, m{i}) p{i} = Pow(c{i}, two) "
        f"v{i} = ReduceMean(p{i}, axes) f{i} = Add(v{i}, floor{i}) r{i} = Sqrt(f{i}) "
        f"i{i} = Reciprocal(r{i}) n{i} = Mul(c{i}, i{i}) s{i} = Mul(n{i}, w{i}) "
        f"z{i} = Add(s{i}, b{i}) "
    )


def constants(*sizes: int, floors: tuple[float, ...] = (1e-6,) * 4) -> Arrays:
    found = {"axes": np.array([1]), "two": np.float32(2)}
    for index, size in enumerate(sizes):
        found[f"floor{index}"] = np.float32(floors[index])
        found[f"w{index}"] = draw(size, 1, 1, seed=index)
        found[f"b{index}"] = draw(size, 1, 1, seed=9 + index)
    return found


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4))
@settings(max_examples=10, deadline=None)
def test_groups_are_normalised_side_by_side(sizes: list[int]) -> None:
    names = [f"g{index}" for index in range(len(sizes))]
    body = f"{', '.join(names)} = Split<axis = 1>(x, sizes) "
    body += "".join(norm(name, index) for index, name in enumerate(names))
    body += f"y = Concat<axis = 1>({', '.join(f'z{i}' for i in range(len(sizes)))})"
    model = graph(
        body,
        {**constants(*sizes), "sizes": np.array(sizes)},
        inputs={"x": (1, sum(sizes), 5, 6)},
    )
    # Where two channels are nearly equal, their difference has few digits.
    rewritten(norms_after_concat, model, SIDE_BY_SIDE, tolerance=1e-4)


def test_channels_of_several_maps_are_picked() -> None:
    # As EGE-UNet joins quarters of two maps and a third map to each.
    body = (
        "a0, a1 = Split<axis = 1, num_outputs = 2>(x) "
        "q0 = Slice(z, start, end, axes) q1 = Slice(z, end, far, axes) "
        "h0 = Concat<axis = 1>(a0, q0, m) h1 = Concat<axis = 1>(a1, q1, m) "
        f"{norm('h0', 0)} {norm('h1', 1)} y = Concat<axis = 1>(z0, z1)"
    )
    edges = {"start": np.array([0]), "end": np.array([3]), "far": np.array([2**62])}
    model = graph(
        body,
        {**constants(6, 6), **edges},
        inputs={"x": (1, 4, 5, 6), "z": (1, 6, 5, 6), "m": (1, 1, 5, 6)},
    )
    rewritten(norms_after_concat, model, {**SIDE_BY_SIDE, "Concat": 1})


@pytest.mark.parametrize(
    ("tail", "results"),
    [
        ("y = Concat<axis = 1>(z0, z0)", "y"),
        ("y = Concat<axis = 1>(z0, z1) also = Neg(z1)", ("y", "also")),
        ("y = Concat<axis = 1>(z0, z1)", ("y", "z0")),
        ("y = Concat<axis = 2>(z0, z1)", "y"),
        ("y = Concat<axis = 1>(z0, x)", "y"),
        ("y = Concat<axis = 1>(z0)", "y"),
    ],
)
def test_other_concatenations_stay(tail: str, results: tuple[str, ...]) -> None:
    body = f"g = Relu(x) {norm('x', 0)} {norm('g', 1)} {tail}"
    left_alone(norms_after_concat, graph(body, constants(4, 4), results=tuple(results)))


def test_norms_with_other_floors_stay() -> None:
    body = f"g = Relu(x) {norm('x', 0)} {norm('g', 1)} y = Concat<axis = 1>(z0, z1)"
    left_alone(norms_after_concat, graph(body, constants(4, 4, floors=(1e-6, 1e-5))))
