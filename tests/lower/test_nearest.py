from __future__ import annotations

import numpy as np
import pytest
from rewritten_graphs import draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.nearest import nearest_by_shuffle

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

FACTORS = {
    "twice": np.array([1, 1, 2, 2], np.float32),
    "rows": np.array([1, 1, 2, 1], np.float32),
    "uneven": np.array([1, 1, 2.1, 2.1], np.float32),
    "sizes": np.array([1, 4, 16, 16]),
    "three": np.array([1, 4, 24, 24]),
}
FLOOR = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'


@pytest.mark.parametrize(
    "attributes",
    [
        FLOOR,
        'mode = "nearest"',
        'nearest_mode = "round_prefer_ceil"',
        'coordinate_transformation_mode = "pytorch_half_pixel"',
    ],
)
@pytest.mark.parametrize("inputs", ["x, , twice", "x, , , sizes"])
def test_repeated_pixels_are_shuffled(attributes: str, inputs: str) -> None:
    model = graph(f"y = Resize<{attributes}>({inputs})", FACTORS)
    rewritten(nearest_by_shuffle, model, {"Conv": 1, "DepthToSpace": 1})


@pytest.mark.parametrize("biased", [False, True])
def test_the_convolution_in_front_gives_the_copies(biased: bool) -> None:
    model = graph(
        f"m = Conv(x, w{', b' * biased}) y = Resize<{FLOOR}>(m, , twice)",
        {**FACTORS, "w": draw(3, 4, 1, 1), "b": draw(3)},
    )
    rewritten(nearest_by_shuffle, model, {"Conv": 1, "DepthToSpace": 1})


@pytest.mark.parametrize(
    ("convolution", "results"),
    [
        ("Conv(x, w)", "ym"),
        ("Conv<strides = [2,2]>(x, w)", "y"),
        ("Conv<pads = [1,1,1,1]>(x, w)", "y"),
        ("Conv<group = 2>(x, halves)", "y"),
    ],
)
def test_other_convolutions_in_front_stay(convolution: str, results: str) -> None:
    model = graph(
        f"m = {convolution} y = Resize<{FLOOR}>(m, , twice)",
        {**FACTORS, "w": draw(3, 4, 1, 1), "halves": draw(4, 2, 1, 1)},
        results=tuple(results),
    )
    rewritten(nearest_by_shuffle, model, {"Conv": 2, "DepthToSpace": 1})


@pytest.mark.parametrize(
    ("attributes", "inputs"),
    [
        ('mode = "linear"', "x, , twice"),
        (FLOOR, "x, , rows"),
        (FLOOR, "x, , , three"),
        (FLOOR, "small, , uneven"),  # 8 pixels of 4, but the last from place 3.33
        (FLOOR.replace("floor", "ceil"), "x, , twice"),
        ('nearest_mode = "floor"', "x, , twice"),
        ('coordinate_transformation_mode = "align_corners"', "x, , twice"),
        (f'{FLOOR}, keep_aspect_ratio_policy = "not_larger"', "x, , , sizes"),
        (FLOOR, "x, , computed"),
    ],
)
def test_other_resizing_stays(attributes: str, inputs: str) -> None:
    body = f"y = Resize<{attributes}>({inputs})"
    body = f"computed = Mul(twice, rows) {body}" if "computed" in body else body
    shapes = {"small": (1, 4, 4, 4)} if "small" in body else {"x": (1, 4, 8, 8)}
    left_alone(nearest_by_shuffle, graph(body, FACTORS, inputs=shapes))
