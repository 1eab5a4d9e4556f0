from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.pointwise_sums import split_by_pointwise, sum_into_pointwise

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

WEIGHTS = {
    "w": draw(4, 4, 1, 1),
    "v": draw(4, 4, 1, 1, seed=1),
    "b": draw(4),
    "three": draw(4, 4, 3, 3),
    "wide": draw(6, 4, 1, 1),
    "grouped": draw(4, 1, 1, 1),
    "one": draw(1, 4, 1, 1),
}


@given(terms=st.integers(1, 3), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_parts_are_sums_of_their_own(terms: int, sizes: list[int]) -> None:
    total = sum(sizes)
    names = [f"c{index}" for index in range(terms)]
    body = [f"{name} = Conv({name}x, {name}w, {name}b)" for name in names]
    body += [f"s{i} = Add({'s' + str(i - 1) if i > 1 else 'c0'}, c{i})" for i in range(1, terms)]
    whole = f"s{terms - 1}" if terms > 1 else "c0"
    parts = [f"p{index}" for index in range(len(sizes))]
    body.append(f"{', '.join(parts)} = Split<axis = 1>({whole}, sizes)")
    body += [f"y{part} = Relu({part})" for part in parts]
    constants = {"sizes": np.array(sizes)}
    for index, name in enumerate(names):
        constants[f"{name}w"] = draw(total, 3, 1, 1, seed=index)
        constants[f"{name}b"] = draw(total, seed=index)
    model = graph(
        " ".join(body),
        constants,
        inputs={f"{name}x": (1, 3, 5, 6) for name in names},
        results=[f"y{part}" for part in parts],
    )
    count = len(parts)
    wanted = {"Conv": terms * count, "Relu": count}
    if terms > 1:
        wanted["Add"] = (terms - 1) * count
    rewritten(split_by_pointwise, model, wanted)


@pytest.mark.parametrize(
    "body",
    [
        "s = Conv<pads = [1,1,1,1]>(x, three) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "s = Conv<group = 4>(x, grouped) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "c = Conv(x, w) s = Add(c, x) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "s = Conv(x, w) p, q = Split<axis = 2, num_outputs = 2>(s)",
        "c = Conv(x, w) d = Conv(x, one) s = Add(c, d) p, q = Split<axis = 1, num_outputs = 2>(s)",
        "p, q = Split<axis = 1, num_outputs = 2>(x)",
    ],
)
def test_other_splits_stay(body: str) -> None:
    model = graph(f"{body} y = Add(p, q)", WEIGHTS)
    left_alone(split_by_pointwise, model)


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("s = Conv(x, w) p, q = Split<axis = 1, num_outputs = 2>(s) y = Add(p, q)", ("y", "s")),
        (
            "c = Conv(x, w) d = Conv(x, v) s = Add(c, d) "
            "p, q = Split<axis = 1, num_outputs = 2>(s) y = Add(p, q) z = Relu(c)",
            ("y", "z"),
        ),
    ],
)
def test_what_others_read_stays(body: str, results: tuple[str, ...]) -> None:
    left_alone(split_by_pointwise, graph(body, WEIGHTS, results=results))


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        ("c = Conv(x, w, b) y = Add(x, c)", {"Conv": 1}),
        ("c = Conv(x, w, b) y = Add(c, x)", {"Conv": 1}),
        (
            "c = Conv(x, w) r = Relu(x) s = Add(r, c) y = Add(s, x)",
            {"Conv": 1, "Relu": 1, "Add": 1},
        ),
        (
            "c = Conv(x, w) d = Conv(c, v) s = Add(c, d) r = Relu(c) y = Add(s, r)",
            {"Conv": 2, "Relu": 1, "Add": 1},
        ),
        # Both convolutions read x, and x is added once.
        ("c = Conv(x, w) d = Conv(x, v) s = Add(c, d) y = Add(s, x)", {"Conv": 2, "Add": 1}),
    ],
)
def test_identity_goes_into_the_convolution(body: str, operators: dict[str, int]) -> None:
    rewritten(sum_into_pointwise, graph(body, WEIGHTS), operators)


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv<pads = [1,1,1,1]>(x, three) y = Add(x, c)",
        "c = Conv<group = 4>(x, grouped) y = Add(x, c)",
        "r = Relu(x) c = Conv(r, w) y = Add(x, c)",
        "c = Conv(x, w) y = Sub(x, c)",
        "c = Conv(x, w) z = Add(x, c) y = Add(z, c)",
    ],
)
def test_other_sums_stay(body: str) -> None:
    left_alone(sum_into_pointwise, graph(body, WEIGHTS))


def test_a_sum_that_broadcasts_stays() -> None:
    model = graph(
        "c = Conv(x, w) y = Add(x, c)",
        {"w": draw(4, 1, 1, 1)},
        inputs={"x": (1, 1, 5, 6)},
    )
    left_alone(sum_into_pointwise, model)
