from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import Arrays, draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.group_norm import affine_after_pooling, group_norm_by_channel

pytestmark = needs("onnx", "onnx_ir", "onnxruntime", "onnxscript")

NORM = """
    g = Reshape(x, grouped) n = InstanceNormalization<epsilon = 0.0001>(g, ones, zeros)
    r = Reshape(n, shape) s = Mul(r, w) y = Add(s, b)
"""
BY_CHANNEL = {
    "GlobalAveragePool": 2,
    "Conv": 2,
    "Sub": 2,
    "Mul": 4,
    "Sqrt": 1,
    "Reciprocal": 1,
    "Add": 1,
}
POOLED = """
    v = Add(t, floor) q = Sqrt(v) i = Reciprocal(q) k = Mul(i, w) m = Mul(x, k) a = Add(m, b)
    y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(a)
"""


def constants(channels: int = 4, groups: int = 2, **others: np.ndarray) -> Arrays:  # type: ignore[type-arg]
    return {
        "grouped": np.array([1, groups, -1]),
        "ones": np.ones(groups, np.float32),
        "zeros": np.zeros(groups, np.float32),
        "shape": np.array([1, channels, 8, 8]),
        "w": draw(channels, 1, 1),
        "b": draw(channels, 1, 1, seed=1),
        **others,
    }


@given(groups=st.integers(1, 4), width=st.integers(1, 3), mean=st.sampled_from([0.0, 30.0]))
@settings(max_examples=8, deadline=None)
def test_a_norm_is_one_product_and_sum(groups: int, width: int, mean: float) -> None:
    model = graph(NORM, constants(groups * width, groups), inputs={"x": (1, groups * width, 8, 8)})
    rewritten(group_norm_by_channel, model, BY_CHANNEL, mean=mean, tolerance=1e-5 + 1e-6 * mean)


def test_two_norms_may_share_what_they_normalise() -> None:
    body = """
        g = Reshape(x, grouped) n = InstanceNormalization(g, ones, zeros) r = Reshape(n, shape)
        s = Mul(r, w) t = Add(s, b) s2 = Mul(r, w2) t2 = Add(s2, b2) y = Sub(t, t2)
    """
    others = {"w2": draw(4, 1, 1, seed=2), "b2": draw(4, 1, 1, seed=3)}
    model = graph(body, constants(**others), inputs={"x": (1, 4, 8, 8)})
    # They share the statistics.
    both = {**BY_CHANNEL, "Mul": 7, "Sub": 4, "Add": 2}
    rewritten(group_norm_by_channel, model, both, count=2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ones", np.array([1, 2], np.float32)),
        ("zeros", np.array([0, 1], np.float32)),
        ("w", draw(8)),  # of columns
        ("b", draw(8)),
        ("shape", np.array([1, 8, 4, 16])),
        ("grouped", np.array([4, 2, -1])),
    ],
)
def test_other_norms_stay(name: str, content: np.ndarray) -> None:  # type: ignore[type-arg]
    others = {name: content}
    if name == "shape":
        others.update(w=draw(8, 1, 1), b=draw(8, 1, 1))
    model = graph(NORM, constants(8, **others), inputs={"x": (1, 8, 8, 8)})
    left_alone(group_norm_by_channel, model)


@pytest.mark.parametrize("shape", [(1, 4, "height", 8), (2, 2, 8, 8)])
def test_maps_that_are_unknown_or_several_stay(shape: tuple[int | str, ...]) -> None:
    left_alone(group_norm_by_channel, graph(NORM, constants(), inputs={"x": shape}))


def pooled(weight: np.ndarray, *, statistic: tuple[int, ...] = (1, 4, 1, 1)) -> object:  # type: ignore[type-arg]
    inputs = {"x": (1, 4, 8, 8), "t0": statistic}
    body = f"t = Mul(t0, t0) {POOLED}"
    return graph(body, constants(w=weight, floor=np.float32(0.1)), inputs=inputs)


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_an_affine_goes_behind_a_pooling(least: float) -> None:
    weight = np.maximum(draw(4, 1, 1), least).astype(np.float32)
    left = {"Mul": 3, "Add": 2, "Sqrt": 1, "Reciprocal": 1, "MaxPool": 1}
    after = rewritten(affine_after_pooling, pooled(weight), left)
    assert [node.op_type for node in after.graph][-1] == "Add"


def test_an_affine_with_a_negative_factor_stays() -> None:
    left_alone(affine_after_pooling, pooled(np.array([1, 2, -1, 1], np.float32).reshape(4, 1, 1)))


@pytest.mark.parametrize("statistic", [(1, 1, 8, 8), (1, 4, 1, 8)])
def test_an_affine_that_differs_by_pixel_stays(statistic: tuple[int, ...]) -> None:
    left_alone(affine_after_pooling, pooled(np.ones((4, 1, 1), np.float32), statistic=statistic))


def test_a_factor_of_unknown_sign_stays() -> None:
    body = POOLED.replace("Reciprocal(q)", "Neg(q)")
    model = graph(
        f"t = Mul(t0, t0) {body}",
        constants(w=np.ones((4, 1, 1), np.float32), floor=np.float32(0.1)),
        inputs={"x": (1, 4, 8, 8), "t0": (1, 4, 1, 1)},
    )
    left_alone(affine_after_pooling, model)
