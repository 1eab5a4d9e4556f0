from __future__ import annotations

import numpy as np
import pytest
from rewritten_graphs import graph
from support import needs

from edgeseg.lower.matching import select, sliced_channels

pytestmark = needs("onnx", "onnx_ir")

EDGES = {
    "one": np.array([1]),
    "three": np.array([3]),
    "last": np.array([-1]),
    "end": np.array([2**62]),
    "two": np.array([2]),
    "pair": np.array([1, 2]),
    "ends": np.array([3, 4]),
    "sizes": np.array([1, 3]),
}


def values(body: str, *names: str, inputs: dict[str, tuple[int | str, ...]] | None = None) -> list:  # type: ignore[type-arg]
    model = graph(body, EDGES, inputs=inputs, results=("y",))
    by_name = {value.name: value for node in model.graph for value in node.outputs}
    return [by_name[name] for name in names]


def test_channels_are_followed_to_their_roots() -> None:
    body = """
        a, b = Split<axis = 1>(x, sizes) c = Concat<axis = 1>(b, z) d = Slice(c, two, end, one)
        y = Concat<axis = 1>(d, a)
    """
    # b is x1..x3, c is [x1, x2, x3, z0, z1], d is [x3, z0, z1], and a is x0.
    inputs: dict[str, tuple[int | str, ...]] = {"x": (1, 4, 5, 6), "z": (1, 2, 5, 6)}
    (y,) = values(body, "y", inputs=inputs)
    chosen = select([y])
    assert chosen is not None
    assert [root.name for root in chosen.roots] == ["x", "z"]
    assert chosen.matrix.argmax(axis=1).tolist() == [3, 4, 5, 0]
    assert chosen.matrix.sum() == 4


def test_several_values_are_concatenated() -> None:
    chosen = select(values("a = Relu(x) y = Neg(a)", "y", "a", "y"))
    assert chosen is not None
    assert [root.name for root in chosen.roots] == ["y", "a"]
    assert chosen.matrix.argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]


def test_an_unknown_size_selects_nothing() -> None:
    inputs: dict[str, tuple[int | str, ...]] = {"x": (1, "channels", 5, 6), "z": (1, 2, 5, 6)}
    assert select(values("y = Concat<axis = 1>(x, z)", "y", inputs=inputs)) is None


@pytest.mark.parametrize(
    ("body", "window"),
    [
        ("a, y = Split<axis = 1>(x, sizes)", (1, 4)),
        ("y, a = Split<axis = -3, num_outputs = 2>(x)", (0, 2)),
        ("y = Slice(x, one, three, one)", (1, 3)),
        ("y = Slice(x, one, end, one)", (1, 4)),
        ("y = Slice(x, last, end, one)", (3, 4)),
        ("y = Slice(x, one, last, one, one)", (1, 3)),
        ("a, y = Split<axis = 2, num_outputs = 2>(x)", None),
        ("y = Slice(x, one, three, two)", None),
        ("y = Slice(x, one, three, one, two)", None),
        ("y = Slice(x, pair, ends, pair)", None),
        ("y = Slice(x, pair, ends)", None),
        ("at = Neg(last) y = Slice(x, at, three, one)", None),
        ("y = Relu(x)", None),
    ],
)
def test_windows(body: str, window: tuple[int, int] | None) -> None:
    found = sliced_channels(values(body, "y")[0])
    assert (found and found[1:]) == window
    assert found is None or found[0].name == "x"
