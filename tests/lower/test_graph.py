from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewritten_graphs import draw, graph, operators, rewritten, run
from support import needs

from edgeseg.lower.graph import (
    Editor,
    channels_of,
    convolution_of,
    is_read_once,
    maps_of_one_size,
    rewrite_each,
    summands,
)

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def output(model: Any) -> Any:
    return model.graph.outputs[0]


def doubled(edit: Editor, node: Any) -> Any | None:
    """Neg(x) as x * -2 / 2."""
    if node.op_type != "Neg":
        return None
    product = edit("Mul", node.inputs[0], np.array(-2, np.float32))
    return edit("Div", product, np.array(2, np.float32))


def as_reciprocal(edit: Editor, node: Any) -> Any | None:
    """a / b as a * (1 / b)."""
    if node.op_type != "Div":
        return None
    return edit("Mul", node.inputs[0], edit("Div", np.array(1, np.float32), node.inputs[1]))


def test_a_result_of_the_graph_keeps_its_name_and_is_read_further() -> None:
    model = graph("y = Neg(x) z = Relu(y)", results=("y", "z"))
    rewritten(lambda m: rewrite_each(m, doubled), model, {"Mul": 1, "Div": 1, "Relu": 1})


def test_a_second_rewrite_of_a_result_keeps_the_constants_of_the_first() -> None:
    def offset(edit: Editor, node: Any) -> Any | None:
        """a / b as (a * 3) / b / 3: the constant 3 would be named like the first one's -2."""
        if node.op_type != "Div" or node.inputs[0].producer().op_type == "Div":
            return None
        more = edit("Mul", node.inputs[0], np.array(3, np.float32))
        return edit("Div", edit("Div", more, node.inputs[1]), np.array(3, np.float32))

    model = graph("y = Neg(x)")
    expected = run(model)[0]
    assert rewrite_each(model, doubled) == 1
    names = set(model.graph.initializers)
    # One pass is looked at, before names are mended.
    node = model.graph.outputs[0].producer()
    edit = Editor(model, node)
    assert offset(edit, node) is not None
    assert names < set(model.graph.initializers)
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-6)


def test_operators_of_other_domains_are_not_offered() -> None:
    model = graph("a = com.example.Neg(x) y = Neg(a)")
    assert rewrite_each(model, doubled) == 1
    assert operators(model) == {"Neg": 1, "Mul": 1, "Div": 1}


def test_a_rewrite_without_end_is_stopped() -> None:
    def again(edit: Editor, node: Any) -> Any | None:
        return edit("Neg", node.inputs[0]) if node.op_type == "Neg" else None

    with pytest.raises(RuntimeError, match="again still finds something after 100 passes"):
        rewrite_each(graph("y = Neg(x)"), again)


def test_what_a_convolution_is() -> None:
    attributes = "group = 2, strides = [1,2], dilations = [2,3], pads = [1,2,3,4]"
    model = graph(f"y = Conv<{attributes}>(x, w)", {"w": draw(6, 2, 3, 2)})
    found = convolution_of(output(model))
    assert found is not None
    assert (found.group, found.strides, found.dilations) == (2, (1, 2), (2, 3))
    assert found.pads == (1, 2, 3, 4)
    assert found.reach == (5, 4)
    assert not found.bias.any()
    assert not found.is_depthwise
    assert not found.is_pointwise
    dense = found.dense_weight()
    assert dense.shape == (6, 4, 3, 2)
    assert np.array_equal(dense[:3, :2], found.weight[:3])
    assert np.array_equal(dense[3:, 2:], found.weight[3:])
    assert not dense[:3, 2:].any()
    assert not dense[3:, :2].any()


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu(x)",
        "u = Neg(w) y = Conv(x, u)",
        "c = Neg(b) y = Conv(x, w, c)",
        'y = Conv<auto_pad = "VALID">(x, w)',
        "y = com.example.Conv(x, w)",
    ],
)
def test_what_no_convolution_is(body: str) -> None:
    assert convolution_of(output(graph(body, {"w": draw(4, 4, 1, 1), "b": draw(4)}))) is None


def test_convolutions_of_rows_and_of_doubles() -> None:
    rows = graph("y = Conv(x, w)", {"w": draw(4, 4, 1)}, inputs={"x": (1, 4, 8)})
    assert convolution_of(output(rows)) is None
    weight = draw(4, 4, 1, 1).astype(np.float64)
    assert convolution_of(output(graph("y = Conv(x, w)", {"w": weight}, kind="double"))) is None
    assert convolution_of(rows.graph.inputs[0]) is None


def test_channels_and_sizes() -> None:
    def made(*shape: int | str, kind: str = "float") -> Any:
        return graph("y = Relu(x)", inputs={"x": shape}, kind=kind).graph.inputs[0]

    assert channels_of(made(1, 3, 5, 6)) == 3
    for unknown in (
        made(2, 3, 5, 6),
        made(1, 3, 5),
        made(1, 3, "h", 6),
        made(1, 3, 5, 6, kind="double"),
    ):
        assert channels_of(unknown) is None
        assert not maps_of_one_size([made(1, 3, 5, 6), unknown])
    assert maps_of_one_size([made(1, 3, 5, 6), made(1, 2, 5, 6)])
    assert not maps_of_one_size([made(1, 3, 5, 6), made(1, 3, 6, 5)])


def test_readers() -> None:
    model = graph("a = Neg(x) b = Relu(a) c = Mul(b, b) y = Add(c, a)", results=("y", "b"))
    values = {node.outputs[0].name: node.outputs[0] for node in model.graph}
    once = {name for name, value in values.items() if is_read_once(value)}
    assert once == {"c"}


def test_sums_that_others_read_are_summands_unless_told() -> None:
    model = graph("a = Neg(x) b = Relu(x) s = Add(a, b) t = Add(s, a) u = Add(t, b) y = Mul(u, s)")
    values = {node.outputs[0].name: node.outputs[0] for node in model.graph}
    own = [value.name for value in summands(values["u"], also_shared=False)]
    every = [value.name for value in summands(values["u"], also_shared=True)]
    assert own == ["s", "a", "b"]
    assert every == ["a", "b", "a", "b"]
