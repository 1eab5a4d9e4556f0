from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import Arrays, Rewrite, draw, graph, left_alone, rewritten, run
from support import needs

from edgeseg.lower.layer_norm import layer_norm_by_convolution, pointwise_before_norm

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

NORM = """
    m = ReduceMean(x, axes) c = Sub(x, m) p = Pow(c, two) v = ReduceMean(p, axes)
    f = Add(v, floor) r = Sqrt(f) i = Reciprocal(r) n = Mul(c, i) s = Mul(n, w) {result} = Add(s, b)
"""
ALONE = NORM.format(result="y")
BEFORE = NORM.format(result="z")


def constants(channels: int = 4, **others: np.ndarray) -> Arrays:  # type: ignore[type-arg]
    """Of a LayerNorm over the channels."""
    return {
        "axes": np.array([1]),
        "two": np.float32(2),
        "floor": np.float32(1e-6),
        "w": 0.1 + np.abs(draw(channels, 1, 1)),
        "b": draw(channels, 1, 1, seed=1),
        **others,
    }


@given(channels=st.integers(3, 9))
@settings(max_examples=10, deadline=None)
def test_a_norm_is_two_convolutions(channels: int) -> None:
    model = graph(ALONE, constants(channels), inputs={"x": (1, channels, 9, 10)})
    left = {"Conv": 2, "Mul": 2, "Sqrt": 1, "Reciprocal": 1, "Add": 1}
    rewritten(layer_norm_by_convolution, model, left)


@given(channels=st.integers(3, 9), outputs=st.integers(1, 9), biased=st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_convolution_goes_before_the_norm(channels: int, outputs: int, biased: bool) -> None:
    model = graph(
        f"{BEFORE} y = Conv(z, k{', d' * biased})",
        constants(channels, k=draw(outputs, channels, 1, 1), d=draw(outputs)),
        inputs={"x": (1, channels, 5, 6)},
    )
    left = {"Conv": 3, "Sub": 1, "Mul": 2, "Sqrt": 1, "Reciprocal": 1, "Add": 1}
    rewritten(pointwise_before_norm, model, left)


@pytest.mark.parametrize("rewrite", [pointwise_before_norm, layer_norm_by_convolution])
@pytest.mark.parametrize("mean", [30.0, 1000.0])
@pytest.mark.parametrize("deviation", [1.0, 1e-2, 0.0])
def test_pixels_of_nearly_equal_channels_keep_their_digits(
    rewrite: Rewrite, mean: float, deviation: float
) -> None:
    # Of a variance as the difference of two means of squares, nothing or less than that is left.
    body = f"g = Mul(noise, small) x = Add(g, level) {BEFORE} y = Conv(z, k)"
    others = {"small": np.float32(deviation), "level": np.float32(mean), "k": draw(3, 4, 1, 1)}

    def model() -> object:
        return graph(body, constants(**others), inputs={"noise": (1, 4, 8, 8)})

    after = model()
    assert rewrite(after) == 1
    expected, found = run(model())[0], run(after)[0]
    assert np.isfinite(found).all()
    # The digits that the channels themselves have are those of numbers as large as the mean.
    tolerance = 1e-5 + 4e-7 * mean / max(deviation, 1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_values_that_others_read_stay() -> None:
    model = graph(f"{ALONE} also = Neg(c)", constants(), results=("y", "i", "also"))
    left = {"ReduceMean": 2, "Sub": 1, "Pow": 1, "Add": 2, "Sqrt": 2, "Reciprocal": 2}
    rewritten(layer_norm_by_convolution, model, {**left, "Neg": 1, "Conv": 2, "Mul": 2})


def test_a_norm_that_two_convolutions_read_stays() -> None:
    body = f"{BEFORE} h = Conv(z, k) g = Conv(z, k2) y = Mul(h, g)"
    others = {"k": draw(3, 4, 1, 1), "k2": draw(3, 4, 1, 1, seed=1)}
    left_alone(pointwise_before_norm, graph(body, constants(**others)))


def test_a_norm_that_the_graph_returns_stays() -> None:
    model = graph(f"{BEFORE} y = Conv(z, k)", constants(k=draw(3, 4, 1, 1)), results=("y", "z"))
    left_alone(pointwise_before_norm, model)


@pytest.mark.parametrize(
    ("convolution", "kernel"),
    [
        ("Conv<pads = [1,1,1,1]>", (3, 4, 1, 1)),
        ("Conv<strides = [2,2]>", (3, 4, 1, 1)),
        ("Conv<group = 2>", (4, 2, 1, 1)),
        ("Conv<pads = [1,1,1,1]>", (3, 4, 3, 3)),
    ],
)
def test_other_convolutions_stay_behind(convolution: str, kernel: tuple[int, ...]) -> None:
    model = graph(f"{BEFORE} y = {convolution}(z, k)", constants(k=draw(*kernel)))
    left_alone(pointwise_before_norm, model)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w", np.array([1, 1e-4, 2, 1], np.float32).reshape(4, 1, 1)),
        ("w", draw(4, mean=2)),  # of columns
        ("b", draw(4)),
        ("b", draw(1, 1, 1, 1)),
        ("two", np.float32(3)),
        ("axes", np.array([2])),
        ("axes", np.array([1, 2, 3])),
        ("floor", draw(4, 1, 1, mean=9)),
    ],
)
def test_other_norms_stay(name: str, content: np.ndarray) -> None:  # type: ignore[type-arg]
    model = graph(ALONE, constants(**{name: content}), inputs={"x": (1, 4, 4, 4)})
    left_alone(layer_norm_by_convolution, model)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ReduceMean(x, axes)", "ReduceMean(other, axes)"),
        ("ReduceMean(p, axes)", "ReduceMax(p, axes)"),
        ("Pow(c, two)", "Pow(x, two)"),
        ("Sub(x, m)", "Sub(m, x)"),
        ("Sqrt(f)", "Exp(f)"),
    ],
)
def test_what_only_looks_like_a_norm_stays(old: str, new: str) -> None:
    assert old in ALONE
    inputs = {"x": (1, 4, 8, 8), "other": (1, 4, 8, 8)}
    model = graph(ALONE.replace(old, new), constants(), inputs=inputs)
    left_alone(layer_norm_by_convolution, model)


def test_a_norm_of_unknown_channels_stays() -> None:
    model = graph(ALONE, constants(1), inputs={"x": (1, "channels", 8, 8)})
    left_alone(layer_norm_by_convolution, model)


def test_weights_that_are_computed_stay() -> None:
    body = ALONE.replace("Mul(n, w)", "Mul(n, u)")
    left_alone(layer_norm_by_convolution, graph(f"u = Neg(w) {body}", constants()))


def test_a_norm_of_more_weights_than_pixels_stays() -> None:
    left = {"Conv": 2, "Mul": 2, "Sqrt": 1, "Reciprocal": 1, "Add": 1}
    inputs = {"x": (1, 6, 6, 6)}
    rewritten(layer_norm_by_convolution, graph(ALONE, constants(6), inputs=inputs), left)
    inputs = {"x": (1, 6, 5, 7)}
    left_alone(layer_norm_by_convolution, graph(ALONE, constants(6), inputs=inputs))
