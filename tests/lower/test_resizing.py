from __future__ import annotations

import numpy as np
import pytest
from rewritten_graphs import graph
from support import needs

from edgeseg.lower.resizing import resizing_of

pytestmark = needs("onnx", "onnx_ir")

CONSTANTS = {
    "sizes": np.array([1, 4, 16, 12]),
    "two": np.array([16, 12]),
    "factors": np.array([1, 1, 2, 1.5], np.float32),
    "uneven": np.array([1, 1, 2.1, 1.5], np.float32),  # also gives 16 rows of 8
    "channels": np.array([1, 2, 1, 1], np.float32),
    "window": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32),
}


def result(resize: str, shape: tuple[int | str, ...] = (1, 4, 8, 8), kind: str = "float") -> object:
    return graph(f"y = {resize}", CONSTANTS, inputs={"x": shape}, kind=kind).graph.outputs[0]


@pytest.mark.parametrize("inputs", ["x, , , sizes", "x, , factors"])
def test_sizes_and_defaults(inputs: str) -> None:
    found = resizing_of(result(f"Resize({inputs})"))
    assert found is not None
    assert (found.before, found.after) == ((8, 8), (16, 12))
    stated = (found.mode, found.coordinates, found.rounding)
    assert stated == ("nearest", "half_pixel", "round_prefer_floor")


@pytest.mark.parametrize(
    "resize",
    [
        "Relu(x)",
        "Resize(x, , uneven)",
        "Resize(x, , channels)",
        "Resize<axes = [2,3]>(x, , , two)",
        'Resize<mode = "linear", antialias = 1>(x, , , sizes)',
        'Resize<mode = "cubic", exclude_outside = 1>(x, , , sizes)',
        'Resize<keep_aspect_ratio_policy = "not_larger">(x, , , sizes)',
        'Resize<coordinate_transformation_mode = "tf_crop_and_resize">(x, window, , sizes)',
        'Resize<coordinate_transformation_mode = "half_pixel_symmetric">(x, , , sizes)',
    ],
)
def test_what_is_not_plain(resize: str) -> None:
    assert resizing_of(result(resize)) is None


def test_maps_of_unknown_size_and_other_types() -> None:
    assert resizing_of(result("Resize(x, , factors)", (1, 4, "height", 8))) is None
    assert resizing_of(result("Resize(x, , factors)", (2, 4, 8, 8))) is None
    assert resizing_of(result("Resize(x, , factors)", kind="float16")) is None
