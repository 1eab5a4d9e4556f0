from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import draw, graph, left_alone, operators, rewritten, run
from support import needs

from edgeseg.lower.constants import fold_constants
from edgeseg.lower.graph import tidy
from edgeseg.lower.resize import (
    nearest_by_shuffle,
    resize_by_matrices,
    resize_maps_by_matrices,
    resizing_of,
)

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


def resized(
    coordinates: str,
    before: tuple[int, int],
    after: tuple[int, int],
    *,
    channels: int = 1,
    by_factors: bool = False,
) -> object:
    sizes = np.array([1, channels, *after])
    shape = (1, channels, *before)
    factors = (sizes / np.array(shape)).astype(np.float32)
    inputs = "x, , factors" if by_factors else "x, , , sizes"
    return graph(
        f'y = Resize<mode = "linear", coordinate_transformation_mode = "{coordinates}">({inputs})',
        {"factors": factors} if by_factors else {"sizes": sizes},
        inputs={"x": shape},
    )


@given(
    coordinates=st.sampled_from(["align_corners", "half_pixel", "pytorch_half_pixel"]),
    before=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    after=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
@settings(max_examples=30, deadline=None)
def test_a_resize_is_two_products(
    coordinates: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    model = resized(coordinates, before, after)
    expected = run(model)[0]
    assert resize_by_matrices(model) == 1
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-5, atol=1e-5)
    # What makes the matrices depends on nothing, and is computed when the graph is loaded.
    fold_constants(model)
    tidy(model)
    assert operators(model) == {"MatMul": 2}
    assert resize_by_matrices(model) == 0


def test_factors_serve_as_well_as_sizes() -> None:
    model = resized("half_pixel", (4, 6), (8, 9), by_factors=True)
    expected = run(model)[0]
    assert resize_by_matrices(model) == 1
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-5, atol=1e-5)


def test_the_resize_of_its_own_matrices_stays() -> None:
    model = resized("half_pixel", (4, 6), (8, 12))
    assert resize_by_matrices(model) == 1
    assert resize_by_matrices(model) == 0


def test_maps_of_several_channels_wait_for_the_second_rewrite() -> None:
    left_alone(resize_by_matrices, resized("half_pixel", (4, 6), (8, 12), channels=3))
    model = resized("half_pixel", (4, 6), (8, 12), channels=3)
    expected = run(model)[0]
    assert resize_maps_by_matrices(model) == 1
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "cubic"])
def test_other_interpolation_stays(mode: str) -> None:
    model = graph(f'y = Resize<mode = "{mode}">(x, , , sizes)', {"sizes": np.array([1, 4, 9, 9])})
    left_alone(resize_maps_by_matrices, model)


def test_asymmetric_places_stay() -> None:
    left_alone(resize_maps_by_matrices, resized("asymmetric", (4, 6), (8, 12)))


def test_a_map_that_was_flat_is_resized_by_matrices_too() -> None:
    body = 'm = Unsqueeze(x, axis) y = Resize<mode = "linear">(m, , , sizes)'
    constants = {"axis": np.array([0]), "sizes": np.array([1, 1, 9, 9])}
    model = graph(body, constants, inputs={"x": (1, 4, 5)})
    expected = run(model)[0]
    assert resize_by_matrices(model) == 1
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-5, atol=1e-5)


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
