from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import Arrays, draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.concat import concat_of_planes, gate_after_concat, norms_after_concat

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


INPUTS = {"x": (1, 4, 8, 8), "z": (1, 2, 8, 8), "gates": (1, 2, 8, 8), "others": (1, 2, 8, 8)}
SPLIT = "a, b = Split<axis = 1, num_outputs = 2>(gates)"
GATED = f"{SPLIT} p = Mul(x, a) q = Mul(b, z)"
JOINED = "y = Concat<axis = 1>(u, v)"
ADDED = f"{GATED} u = Add(x, p) v = Add(q, z) {JOINED}"


@pytest.mark.parametrize(
    "inputs", [INPUTS, {**INPUTS, "gates": (1, 2, 1, 1)}, {**INPUTS, "x": (1, 1, 8, 8)}]
)
@pytest.mark.parametrize("body", [ADDED, f"{GATED} y = Concat<axis = 1>(p, q)"])
def test_gates_are_applied_once(body: str, inputs: dict[str, tuple[int, ...]]) -> None:
    left = {"Concat": 1, "Conv": 1, "Mul": 1}
    rewritten(gate_after_concat, graph(body, inputs=inputs), left)


def test_gates_may_be_slices() -> None:
    body = (
        "a = Slice(gates, zero, one, one) b = Slice(gates, one, two, one) "
        f"p = Mul(x, a) q = Mul(b, z) u = Add(x, p) v = Add(q, z) {JOINED}"
    )
    constants = {name: np.array([n]) for n, name in enumerate(("zero", "one", "two"))}
    model = graph(body, constants, inputs=INPUTS)
    rewritten(gate_after_concat, model, {"Concat": 1, "Conv": 1, "Mul": 1})


@pytest.mark.parametrize("position", ["before", "after"])
def test_a_concatenation_that_is_there_is_used(position: str) -> None:
    plain = "joined = Concat<axis = 1>(x, z) also = Relu(joined)"
    body = f"{plain} {ADDED}" if position == "before" else f"{ADDED} {plain}"
    model = graph(body, inputs=INPUTS, results=("y", "also"))
    rewritten(gate_after_concat, model, {"Concat": 1, "Conv": 1, "Mul": 1, "Relu": 1})


@pytest.mark.parametrize(
    "body",
    [
        # gates in another order, of two maps, one left out, one used twice
        ADDED.replace("(u, v)", "(v, u)"),
        f"c, d = Split<axis = 1, num_outputs = 2>(others) {ADDED.replace('(b, z)', '(d, z)')}",
        f"{SPLIT} p = Mul(x, a) q = Mul(z, a) u = Add(x, p) v = Add(z, q) {JOINED}",
        # a part without a gate, and parts that differ
        f"{SPLIT} p = Mul(x, a) u = Add(x, p) y = Concat<axis = 1>(u, z)",
        f"{GATED} u = Add(x, p) y = Concat<axis = 1>(u, q)",
        # something else is added
        f"{GATED} r = Relu(x) u = Add(r, p) v = Add(z, q) {JOINED}",
        # a gate for each channel
        "p = Mul(z, gates) q = Mul(z, others) y = Concat<axis = 1>(p, q)",
        # over rows
        f"{SPLIT} p = Mul(z, a) q = Mul(z, b) y = Concat<axis = 2>(p, q)",
    ],
)
def test_other_concatenations_stay(body: str) -> None:
    left_alone(gate_after_concat, graph(body, inputs=INPUTS))


def test_more_gates_than_parts_stay() -> None:
    body = (
        "a, b, c = Split<axis = 1, num_outputs = 3>(gates) p = Mul(x, a) q = Mul(z, b) "
        "y = Concat<axis = 1>(p, q)"
    )
    left_alone(gate_after_concat, graph(body, inputs={**INPUTS, "gates": (1, 3, 8, 8)}))


def test_maps_of_two_sizes_stay() -> None:
    # One value for a channel grows to the size of its gate.
    body = f"{GATED} y = Concat<axis = 1>(p, q)"
    left_alone(gate_after_concat, graph(body, inputs={**INPUTS, "z": (1, 2, 1, 1)}))


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
def test_concatenations_of_other_norms_stay(tail: str, results: tuple[str, ...]) -> None:
    body = f"g = Relu(x) {norm('x', 0)} {norm('g', 1)} {tail}"
    left_alone(norms_after_concat, graph(body, constants(4, 4), results=tuple(results)))


def test_norms_with_other_floors_stay() -> None:
    body = f"g = Relu(x) {norm('x', 0)} {norm('g', 1)} y = Concat<axis = 1>(z0, z1)"
    left_alone(norms_after_concat, graph(body, constants(4, 4, floors=(1e-6, 1e-5))))


PLANE = (2, 1, 5, 6)


@pytest.mark.parametrize("axis", [1, -3])
@pytest.mark.parametrize("names", ["ab", "abc", "aa"])
def test_planes_are_rows(axis: int, names: str) -> None:
    model = graph(
        f"y = Concat<axis = {axis}>({', '.join(names)})", inputs=dict.fromkeys(names, PLANE)
    )
    # Equal rows are one.
    rewritten(concat_of_planes, model, {"Concat": 1, "Reshape": len(set(names)) + 1})


@pytest.mark.parametrize(
    ("axis", "first", "second"),
    [
        (1, PLANE, (2, 2, 5, 6)),
        (1, (2, 2, 5, 6), (2, 2, 5, 6)),
        (2, PLANE, PLANE),
        (1, (2, 1, 5), (2, 1, 5)),
        (1, (2, 1, "h", 6), (2, 1, "h", 6)),
    ],
)
def test_concatenations_stay_of_planes(
    axis: int, first: tuple[int | str, ...], second: tuple[int | str, ...]
) -> None:
    model = graph(f"y = Concat<axis = {axis}>(a, b)", inputs={"a": first, "b": second})
    left_alone(concat_of_planes, model)


def test_one_plane_alone_stays() -> None:
    left_alone(concat_of_planes, graph("y = Concat<axis = 1>(a)", inputs={"a": PLANE}))
