from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.targets.openvino.repairs import (
    NON_MONOTONE,
    guard_pooled_activations,
    guard_quantized_graph,
)

pytestmark = needs("openvino")

Activation = Callable[[Any], Any]


def make_model(kind: str, *, activation: str = "Gelu", with_bias: bool = True) -> Any:
    """Input (1, 4, 8, 8), `kind` of operator, max-pooling by 2, activation."""
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, 4, 8, 8], np.float32, name="image")
    x = image
    if kind == "convolution":
        weights = ops.constant(np.eye(4, dtype=np.float32)[:, :, None, None])
        x = ops.convolution(x, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    elif kind == "sum":
        x = ops.add(x, ops.multiply(x, x))
    if with_bias:
        x = ops.add(x, ops.constant(np.zeros((1, 4, 1, 1), np.float32) + 0.25))
    x = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    functions: dict[str, Activation] = {
        "Gelu": lambda x: ops.gelu(x, "erf"),
        "Swish": ops.swish,
        "HSwish": ops.hswish,
        "Mish": ops.mish,
        "Abs": ops.absolute,
        "Relu": ops.relu,
        "Erf": lambda x: ops.multiply(
            ops.multiply(x, ops.add(ops.erf(ops.divide(x, number(2**0.5))), number(1))), number(0.5)
        ),
        "Sigmoid": lambda x: ops.multiply(x, ops.sigmoid(x)),
        "PRelu": lambda x: ops.prelu(x, number(-0.5)),
        "Subtract": lambda x: ops.subtract(number(1), x),
    }
    return openvino.Model([functions[activation](x)], [image], "model")


def number(value: float) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.full((1, 1, 1, 1), value, np.float32))


def run(model: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled([image])[0])


def pooled(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return (image + 0.25).reshape(1, 4, 4, 2, 4, 2).max(axis=(3, 5)).astype(np.float64)


EXPECTED: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "Swish": lambda x: x / (1 + np.exp(-x)),
    "HSwish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "Mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "Abs": np.abs,
    "Relu": lambda x: np.maximum(x, 0),
}
# What the plugin, or this package, does not see as one operator.
PARTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "Erf": np.vectorize(lambda x: x * (1 + erf(x / 2**0.5)) / 2),
    "Sigmoid": lambda x: x / (1 + np.exp(-x)),
    "PRelu": lambda x: np.where(x < 0, -0.5 * x, x),
    "Subtract": lambda x: 1 - x,
}


@pytest.fixture
def image() -> NDArray[np.float32]:
    # Mostly negative: there a GELU rises to the left.
    return np.random.default_rng(0).normal(-2, 2, (1, 4, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("activation", [*sorted(EXPECTED), *PARTS])
def test_guarded_activation_comes_after_the_pooling(
    activation: str, image: NDArray[np.float32]
) -> None:
    model = make_model("convolution", activation=activation)
    guard_pooled_activations(model)
    expected = (EXPECTED | PARTS)[activation](pooled(image))
    np.testing.assert_allclose(run(model, image), expected, rtol=1e-5, atol=1e-5)


def test_guarded_gelu_comes_after_the_pooling(image: NDArray[np.float32]) -> None:
    model = make_model("convolution")
    assert guard_pooled_activations(model) == 1
    gelu = np.vectorize(lambda x: x * (1 + erf(x / 2**0.5)) / 2)
    np.testing.assert_allclose(run(model, image), gelu(pooled(image)), atol=1e-5)


def test_every_guarded_kind_has_an_expected_value() -> None:
    assert set(EXPECTED) | {"Gelu"} == NON_MONOTONE | {"Relu"}


@pytest.mark.parametrize("with_bias", [True, False])
def test_a_second_pass_adds_nothing(with_bias: bool) -> None:
    model = make_model("convolution", with_bias=with_bias)
    assert guard_pooled_activations(model) == 1
    assert guard_pooled_activations(model) == 0


@pytest.mark.parametrize(
    ("kind", "activation"), [("convolution", "Relu"), ("sum", "Gelu"), ("none", "Gelu")]
)
def test_graphs_that_the_plugin_computes_rightly_stay_as_they_are(
    kind: str, activation: str
) -> None:
    model = make_model(kind, activation=activation)
    assert guard_pooled_activations(model) == 0


def quantize(value: Any, limit: float = 4.0) -> Any:
    """FakeQuantize of 256 levels in -limit..limit."""
    from openvino import opset13 as ops

    low, high = (ops.constant(np.float32(end)) for end in (-limit, limit * 127 / 128))
    return ops.fake_quantize(value, low, high, low, high, 256)


def make_quantized_model(kind: str) -> Any:
    """Rounded input (1, 4, 8, 8) that an average pooling or a convolution and split read."""
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, 4, 8, 8], np.float32, name="image")
    rounded = quantize(image)
    if kind == "gated":
        rounded = ops.multiply(rounded, ops.sigmoid(rounded))
    elif kind == "centred":
        rounded = ops.subtract(rounded, ops.reduce_mean(rounded, [2, 3], keep_dims=True))
    elif kind == "scaled":
        rounded = ops.multiply(rounded, ops.constant(np.float32(3)))
    elif kind == "from codes":
        codes = ops.convert(rounded, "i8")
        rounded = ops.convert(codes, "f32")
        rounded = ops.subtract(rounded, ops.convert(ops.constant(np.int8(3)), "f32"))
        rounded = ops.multiply(rounded, ops.constant(np.float32(0.1)))
    if "convolution" not in kind:
        result = ops.avg_pool(rounded, [1, 1], [1, 1], [1, 1], [3, 3], False)
        return openvino.Model([result], [image], "model")
    weights = ops.constant(np.eye(4, dtype=np.float32)[:, :, None, None])
    x = ops.convolution(rounded, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    x = ops.add(x, ops.constant(np.ones((1, 4, 1, 1), np.float32)))
    if kind == "rounded convolution":
        x = quantize(x)
    parts = ops.split(x, ops.constant(1), 2)
    return openvino.Model(list(parts.outputs()), [image], "model")


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        ("pooling", "AvgPool"),
        ("from codes", "AvgPool"),
        ("convolution", "Convolution"),
        ("rounded convolution", "Convolution"),
    ],
)
def test_guarded_operator_reads_what_was_not_rounded(kind: str, reader: str) -> None:
    model = make_quantized_model(kind)
    assert guard_quantized_graph(model) == 1
    (found,) = (op for op in model.get_ordered_ops() if op.get_type_name() == reader)
    assert found.input_value(0).get_node().get_type_name() == "Parameter"
    assert guard_quantized_graph(model) == 0


@pytest.mark.parametrize("kind", ["gated", "centred", "scaled"])
def test_arithmetic_behind_the_rounding_is_the_networks_own(kind: str) -> None:
    assert guard_quantized_graph(make_quantized_model(kind)) == 0


def test_a_float_graph_stays_as_it_is() -> None:
    assert guard_quantized_graph(make_model("convolution")) == 0


def make_product(tokens: int, width: int, *, with_bias: bool = True) -> tuple[Any, Any]:
    """A quantised product of tokens (1, tokens, width), rounded with a range for each token.

    Returns:
        The model, and the same without the last rounding.
    """
    import openvino
    from openvino import opset13 as ops

    random = np.random.default_rng(4)

    def rounded(x: Any, high: NDArray[np.float32]) -> Any:
        low, top = ops.constant(-high), ops.constant(high)
        return ops.fake_quantize(x, low, top, low, top, 256)

    image = ops.parameter([1, tokens, width], np.float32, name="tokens")
    codes = random.integers(-127, 128, (width, width)).astype(np.int8)
    steps = random.uniform(0.001, 0.002, (width, 1)).astype(np.float32)
    weights = ops.multiply(ops.convert(ops.constant(codes), np.float32), ops.constant(steps))
    x = ops.matmul(rounded(image, np.full((1, 1, 1), 3.1, np.float32)), weights, False, True)
    if with_bias:
        x = ops.add(x, ops.constant(random.normal(size=width).astype(np.float32)))
    last = rounded(x, random.uniform(3, 4, (1, tokens, 1)).astype(np.float32))
    return openvino.Model([last], [image], "rounded"), openvino.Model([x], [image], "exact")


@pytest.mark.parametrize(("tokens", "width"), [(256, 32), (32, 32), (16, 64)])
def test_ranges_of_rows_do_not_reach_a_quantised_product(tokens: int, width: int) -> None:
    model, exact = make_product(tokens, width)
    image = np.random.default_rng(5).normal(size=(1, tokens, width)).astype(np.float32)
    expected = run(exact, image)
    assert guard_quantized_graph(model) == 1
    assert guard_quantized_graph(model) == 0
    for _ in range(3):
        # Behind the guard the clipped values are the product's own.
        np.testing.assert_allclose(run(model, image), expected, atol=0.02)


def test_a_product_without_bias_keeps_its_rounding() -> None:
    model, _ = make_product(16, 8, with_bias=False)
    assert guard_quantized_graph(model) == 0
