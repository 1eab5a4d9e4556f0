from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import Rewrite, draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.batch_norm import batch_norm_into_next, batch_norm_into_sum

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

STATISTICS = {
    "gain": draw(4, mean=1),
    "offset": draw(4, seed=1),
    "mean": draw(4, seed=2),
    "variance": np.abs(draw(4, seed=3)) + 0.1,
}
NORM = "BatchNormalization<epsilon = 0.001>({}, gain, offset, mean, variance)"
WEIGHTS = {
    "v": draw(4, 4, 1, 1),
    "w": draw(4, 1, 3, 3),
    "k": draw(3, 4, 1, 1),
    "b": draw(4, seed=5),
    **STATISTICS,
}
DEPTHWISE = "Conv<group = 4, pads = [1,1,1,1]>(x, w)"


@given(count=st.integers(1, 4), biased=st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_norm_goes_into_each_summand(count: int, biased: bool) -> None:
    body = f"s0 = Conv(x, v{', b' * biased}) "
    for index in range(1, count):
        body += f"c{index} = Conv<group = 4, pads = [1,1,1,1]>(x, w{index}{', b' * biased}) "
        body += f"s{index} = Add(s{index - 1}, c{index}) "
    weights = {f"w{index}": draw(4, 1, 3, 3, seed=index) for index in range(1, count)}
    model = graph(f"{body} y = {NORM.format(f's{count - 1}')}", {**WEIGHTS, **weights})
    left = {"Conv": count, "Add": count - 1}
    rewritten(batch_norm_into_sum, model, {kind: n for kind, n in left.items() if n})


def test_a_summand_may_be_one_pixel() -> None:
    body = f"g = GlobalAveragePool(x) a = Conv(g, v) b2 = {DEPTHWISE} s = Add(a, b2)"
    model = graph(f"{body} y = {NORM.format('s')}", WEIGHTS)
    rewritten(batch_norm_into_sum, model, {"GlobalAveragePool": 1, "Conv": 2, "Add": 1})


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("s = Relu(x)", "y"),
        ("a = Conv(x, v) c = Relu(x) s = Add(a, c)", "y"),
        ("a = Conv(x, v) s = Add(a, place)", "y"),
        ("a = Conv(x, v) s = Add(a, a)", "y"),
        (f"a = Conv(x, v) c = {DEPTHWISE} s = Add(a, c)", "ya"),
        (f"a = Conv(x, v) c = {DEPTHWISE} s = Add(a, c)", "ys"),
        (f"a = Conv(x, v) c = {DEPTHWISE} t = Add(a, c) d = Conv(x, v2) s = Add(t, d)", "yt"),
        (f"a = Conv(x, one) c = {DEPTHWISE} s = Add(a, c)", "y"),
        ("u = Neg(v) s = Conv(x, u)", "y"),
    ],
)
def test_other_sums_stay(body: str, results: str) -> None:
    constants = {
        **WEIGHTS,
        "v2": draw(4, 4, 1, 1, seed=7),
        "one": draw(1, 4, 1, 1),
        "place": draw(1, 4, 8, 8),
    }
    model = graph(f"{body} y = {NORM.format('s')}", constants, results=tuple(results))
    left_alone(batch_norm_into_sum, model)


@pytest.mark.parametrize("biased", [False, True])
def test_a_norm_goes_into_the_convolution_behind(biased: bool) -> None:
    body = f"s = {NORM.format('x')} y = Conv(s, k{', d' * biased})"
    rewritten(batch_norm_into_next, graph(body, {**WEIGHTS, "d": draw(3)}), {"Conv": 1})


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("y = Conv<pads = [1,1,1,1]>(s, large)", "y"),  # the shift would be missing outside
        ("y = Conv<group = 4>(s, point)", "y"),
        ("y = Conv<pads = [0,0,0,1]>(s, k)", "y"),
        ("y = Conv(s, k)", "ys"),
        ("a = Conv(s, k) c = Conv(s, k2) y = Mul(a, c)", "y"),
        ("u = Neg(k) y = Conv(s, u)", "y"),
    ],
)
def test_other_convolutions_stay(body: str, results: str) -> None:
    constants = {
        **WEIGHTS,
        "k2": draw(3, 4, 1, 1, seed=1),
        "large": draw(3, 4, 3, 3),
        "point": draw(4, 1, 1, 1),
    }
    model = graph(f"s = {NORM.format('x')} {body}", constants, results=tuple(results))
    left_alone(batch_norm_into_next, model)


@pytest.mark.parametrize(
    ("rewrite", "body"),
    [
        (batch_norm_into_sum, "s = Conv(x, v) y = {}"),
        (batch_norm_into_next, "s = Neg(x) t = {} y = Conv(t, k)"),
    ],
)
def test_statistics_that_are_computed_stay(rewrite: Rewrite, body: str) -> None:
    norm = NORM.format("s").replace("mean", "mean2")
    left_alone(rewrite, graph(f"mean2 = Neg(mean) {body.format(norm)}", WEIGHTS))
