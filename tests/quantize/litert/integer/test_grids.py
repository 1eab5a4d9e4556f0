"""Grids of tensors: which share one, and where ranges are cut."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.errors import CalibrationError
from edgeseg.formats.tflite import Operator, TfliteModel
from edgeseg.quantize.litert.edit import Grid
from edgeseg.quantize.litert.integer.grids import (
    Choose,
    Groups,
    choose_grids,
    grid_of,
    group_tensors,
    least_squares,
    quantized,
    see_values,
    share_of,
    whole_range,
    wide_grid,
    with_bits,
)


def network(*operators: tuple[str, tuple[int, ...], tuple[int, ...]]) -> TfliteModel:
    """Operators (kind, inputs, outputs); tensor 0 is the image, 9 and more are stored."""
    made = tuple(Operator(kind, "", ins, outs) for kind, ins, outs in operators)
    return TfliteModel(made, tuple(f"t{index}" for index in range(12)), frozenset((9, 10, 11)))


def test_a_grid_covers_its_range_and_has_zero() -> None:
    assert grid_of(0, 255) == Grid(1.0, -128)
    assert grid_of(-255, 0) == Grid(1.0, 127)
    assert grid_of(10, 255) == grid_of(0, 255)
    assert grid_of(0, 0) == grid_of(0, 1)
    grid = grid_of(-1, 3)
    assert quantized(np.array([0], np.float32), grid) == grid.zero_point
    assert quantized(np.array([-100, 100], np.float32), grid).tolist() == [-128, 127]


def test_what_only_moves_values_keeps_their_grid() -> None:
    groups = group_tensors(
        network(
            ("CONV_2D", (0, 9, 10), (1,)),
            ("MAX_POOL_2D", (1,), (2,)),
            ("GELU", (2,), (3,)),
            ("LOGISTIC", (3,), (4,)),
            ("RESIZE_BILINEAR", (4, 11), (5,)),
        )
    )
    of = groups.of_tensor
    assert of[1] == of[2]
    assert len({of[0], of[1], of[3], of[4]}) == 4
    assert groups.fixed == {of[5]: Grid(1 / 256, -128)}


def test_a_concatenation_shares_the_grid_of_what_it_alone_reads() -> None:
    of = group_tensors(
        network(
            ("CONV_2D", (0, 9), (1,)),
            ("CONV_2D", (0, 10), (2,)),
            ("LOGISTIC", (1,), (3,)),
            ("CONCATENATION", (1, 2, 3), (4,)),
        )
    ).of_tensor
    assert of[2] == of[4]
    assert of[1] != of[4]  # the sigmoid reads it, too
    assert of[3] != of[4]  # a sigmoid's grid is fixed


def observed(*images: list[float]) -> list[dict[int, np.ndarray]]:
    return [{1: np.array(values, np.float32)} for values in images]


def chosen(values: list[dict[int, np.ndarray]], choose: Choose) -> Grid:
    groups = Groups({1: 1}, {})
    return choose_grids(groups, see_values(groups, lambda: values), choose)[1]


def test_ranges_cut_off_a_share_at_both_ends() -> None:
    values = observed([-1000.0, *[float(index % 101) for index in range(9_998)], 5000.0])
    whole = chosen(values, whole_range)
    assert whole.scale == pytest.approx(6000 / 255, rel=1e-3)
    cut = chosen(values, share_of(0.999))
    assert cut.scale == pytest.approx(101 / 255, rel=0.03)  # to a bin of 6000 / 4096


def test_a_tensor_that_is_always_zero_gets_a_grid() -> None:
    assert chosen(observed([0.0, 0.0]), share_of(0.9999)) == grid_of(0, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(CalibrationError, match="NaN or infinite"):
        chosen(observed([value]), whole_range)


def test_least_squares_clips_what_is_rare() -> None:
    usual = np.linspace(-1, 1, 20_000).tolist()
    values = observed(*[usual] * 100, [3.0])
    grid, whole = chosen(values, least_squares), chosen(values, whole_range)
    assert grid.scale < 0.7 * whole.scale

    def error(one: Grid) -> float:
        exact = np.concatenate([image[1] for image in values])
        codes = quantized(exact, one).astype(np.float64)
        return float(np.square((codes - one.zero_point) * one.scale - exact).sum())

    assert error(grid) < 0.6 * error(whole)


def test_variances_are_wide_and_what_they_are_made_of_is_not() -> None:
    groups = group_tensors(
        network(
            ("CONV_2D", (0, 9), (1,)),
            ("MEAN", (1, 11), (2,)),
            ("SUB", (1, 2), (3,)),
            ("MUL", (3, 3), (4,)),
            ("MEAN", (4, 11), (5,)),
            ("ADD", (5, 10), (6,)),
            ("SQRT", (6,), (7,)),
            ("DIV", (3, 7), (8,)),
        )
    )
    assert groups.wide == {groups.of_tensor[index] for index in (4, 5, 6, 7)}


def test_a_wide_grid_covers_its_range_around_zero() -> None:
    assert wide_grid(0, 32767) == Grid(1.0, 0, 16)
    assert wide_grid(-32767, 1) == Grid(1.0, 0, 16)
    assert wide_grid(0, 0).scale > 0


def test_int8_becomes_int16_without_a_change() -> None:
    grid = grid_of(-1, 3)
    codes = np.arange(-128, 128)
    values = ((codes - grid.zero_point) * grid.scale).astype(np.float32)
    wide = with_bits(grid, 16)
    assert with_bits(grid, 8) is grid
    np.testing.assert_allclose(quantized(values, wide) * wide.scale, values, rtol=1e-6)
    narrow = with_bits(wide, 8)
    assert narrow.bits == 8
    assert narrow.scale * 127 >= values.max() - narrow.scale
