from __future__ import annotations

import pytest
from rewritten_graphs import graph, left_alone, rewritten
from support import needs

from edgeseg.lower.planes import concat_of_planes

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

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
def test_other_concatenations_stay(
    axis: int, first: tuple[int | str, ...], second: tuple[int | str, ...]
) -> None:
    model = graph(f"y = Concat<axis = {axis}>(a, b)", inputs={"a": first, "b": second})
    left_alone(concat_of_planes, model)


def test_one_plane_alone_stays() -> None:
    left_alone(concat_of_planes, graph("y = Concat<axis = 1>(a)", inputs={"a": PLANE}))
