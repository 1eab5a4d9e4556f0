from __future__ import annotations

import numpy as np
import pytest
from rewritten_graphs import graph, left_alone, rewritten
from support import needs

from edgeseg.lower.gated_concat import gate_after_concat

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
