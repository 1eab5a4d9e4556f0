from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import graph, left_alone, operators, run
from support import needs

from edgeseg.lower.constants import fold_constants
from edgeseg.lower.patterns import tidy
from edgeseg.lower.resize import resize_by_matrices, resize_maps_by_matrices

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


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
