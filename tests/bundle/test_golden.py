"""What counts as the same mask on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.bundle.golden import check_golden, read_array, read_golden
from edgeseg.contract import OutputContract

OUTPUTS = OutputContract(("background", "object"), 1)
LIMITS = {"max_abs_diff": 0.5, "max_flips_per_10k": 100.0}


def mask_of(*columns: int) -> NDArray[np.float32]:
    """A mask of 10 x 100 pixels, 0.75 in some columns and 0.25 elsewhere."""
    mask = np.full((1, 1, 10, 100), 0.25, np.float32)
    mask[..., list(columns)] = 0.75
    return mask


def test_the_same_mask_holds() -> None:
    check = check_golden(LIMITS, OUTPUTS, mask_of(1, 2), mask_of(1, 2))
    assert check.holds
    assert (check.max_abs_diff, check.mean_abs_diff, check.flips_per_10k) == (0, 0, 0)


def test_differences_are_those_of_probabilities_and_labels() -> None:
    # One of 100 columns flips, by half.
    check = check_golden(LIMITS, OUTPUTS, mask_of(1, 2, 3), mask_of(1, 2))
    assert check.max_abs_diff == 0.5
    assert check.mean_abs_diff == pytest.approx(0.005)
    assert check.flips_per_10k == pytest.approx(100)
    assert check.holds
    assert str(check) == (
        "largest difference 5.00e-01 (allowed 5e-01), 100.00 of 10,000 pixels flip (allowed 100)"
    )


def test_a_limit_that_nothing_can_break_is_told_as_none() -> None:
    check = check_golden({**LIMITS, "max_abs_diff": 1.0}, OUTPUTS, mask_of(1), mask_of(1))
    assert "largest difference 0.00e+00 (no limit), 0.00 of" in str(check)


def test_rounding_of_the_stored_mask_flips_no_pixel() -> None:
    mask = np.full((1, 1, 10, 100), 0.49999, np.float32)
    stored = mask.astype(np.float16).astype(np.float32)
    assert OUTPUTS.labels(stored).all()
    assert check_golden(LIMITS, OUTPUTS, stored, mask).flips_per_10k == 0


@pytest.mark.parametrize("limit", LIMITS)
def test_either_limit_can_fail(limit: str) -> None:
    limits = {**LIMITS, limit: LIMITS[limit] * 0.9}
    assert not check_golden(limits, OUTPUTS, mask_of(1, 2, 3), mask_of(1, 2)).holds


def test_nan_fails() -> None:
    broken = mask_of(1, 2)
    broken[0, 0, 0, 0] = np.nan
    assert not check_golden(LIMITS, OUTPUTS, mask_of(1, 2), broken).holds


def test_a_small_object_that_is_lost_fails_though_few_pixels_flip() -> None:
    check = check_golden(LIMITS, OUTPUTS, mask_of(1), mask_of())
    assert check.flips_per_10k == pytest.approx(100)
    assert not check.holds
    assert str(check).endswith(", the object is lost")


def test_a_few_pixels_are_no_object() -> None:
    specks = mask_of()
    specks[0, 0, :9, 0] = 0.75
    assert check_golden(LIMITS, OUTPUTS, specks, mask_of()).holds


def test_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"returns a mask \(1, 1, 5, 5\).*Build the bundle anew"):
        check_golden(LIMITS, OUTPUTS, mask_of(), np.zeros((1, 1, 5, 5), np.float32))


def _npy(path: Path, array: Any) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], object),
        np.zeros(3, np.complex64),
        np.zeros(3, "datetime64[s]"),
        np.zeros(2, [("a", "i4")]),
    ],
)
def test_arrays_that_hold_no_numbers_are_refused(array: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.npy is not a whole \.npy file.*Copy it again"):
        read_array(_npy(tmp_path / "a.npy", array))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f2', 'fortran_order': False, 'shape': (99999999999, 9999)}",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '<f2', 'shape': " + "(" * 3_000 + "}",
        "__import__('os').abort()",
    ],
)
def test_a_header_that_lies_is_refused(header: str, tmp_path: Path) -> None:
    text = header.encode() + b"\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\2\0" + len(text).to_bytes(4, "little") + text + bytes(64))
    with pytest.raises(ValueError, match=r"a\.npy is not a whole"):
        read_array(path)


def test_the_pair_is_an_image_and_a_mask(tmp_path: Path) -> None:
    image = _npy(tmp_path / "image.npy", np.zeros((4, 5, 3), np.uint8))
    mask = _npy(tmp_path / "mask.npy", np.ones((1, 1, 4, 5), np.float16))
    pixels, expected = read_golden(image, mask)
    assert (pixels.shape, expected.dtype, float(expected.mean())) == ((4, 5, 3), np.float32, 1.0)
    with pytest.raises(ValueError, match=r"mask\.npy is no image.*anew"):
        read_golden(mask, mask)
    with pytest.raises(ValueError, match=r"image\.npy is no mask.*anew"):
        read_golden(image, image)
