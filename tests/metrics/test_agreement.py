"""Two forms of one network: what counts as agreement and what each refusal advises."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.contract import OutputContract
from edgeseg.errors import ParityError
from edgeseg.metrics.agreement import Agreement, compare_predictions, require_parity

OUTPUTS = OutputContract(("skin", "lesion"), 1)
Plane = NDArray[np.float32]


def plane(*values: float) -> Plane:
    return np.array(values, np.float32).reshape(1, 1, 2, -1)


def compare(reference: list[Plane], candidates: list[Plane]) -> Agreement:
    """Compare stored predictions; the inputs are the candidates themselves."""
    names = [f"image{index}" for index in range(len(reference))]
    return compare_predictions(
        reference, lambda tensor: tensor, candidates, names, OUTPUTS, "The artefact"
    )


def test_the_numbers_by_hand() -> None:
    agreement = compare(
        [plane(0.4, 0.4, 0.8, 0.1), plane(0.2, 0.9, 0.9, 0.2)],
        [plane(0.7, 0.4, 0.8, 0.0), plane(0.2, 0.9, 0.9, 0.2)],
    )
    assert agreement.images == 2
    assert agreement.max_abs_diff == pytest.approx(0.3)
    assert agreement.mean_abs_diff == pytest.approx((0.3 + 0.1) / 8)
    assert agreement.flips_per_10k == pytest.approx(10_000 / 8)  # one of eight pixels
    assert agreement.worst_image == "image0"


def test_a_network_agrees_with_itself() -> None:
    predictions = [np.random.default_rng(0).random((1, 1, 4, 4), np.float32)]
    agreement = compare(predictions, predictions)
    assert agreement == Agreement(1, 0.0, 0.0, 0.0, "image0")


def test_the_worst_image_has_the_most_flips() -> None:
    # The second differs more, but only the third turns a pixel.
    reference = [plane(0.9, 0.9, 0.1, 0.1)] * 2 + [plane(0.49, 0.9, 0.1, 0.1)]
    candidate = [reference[0], plane(0.6, 0.9, 0.1, 0.1), plane(0.51, 0.9, 0.1, 0.1)]
    assert compare(reference, candidate).worst_image == "image2"


def test_without_flips_the_worst_image_differs_most() -> None:
    reference = [plane(0.9, 0.9, 0.1, 0.1)] * 3
    candidate = [plane(0.8, 0.9, 0.1, 0.1), plane(0.6, 0.9, 0.1, 0.1), reference[0]]
    assert compare(reference, candidate).worst_image == "image1"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_candidate_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ParityError, match=r"image0.*Build with another --precision"):
        compare([plane(0.1, 0.2, 0.3, 0.4)], [plane(0.1, 0.2, 0.3, value)])


def test_a_reference_with_nan_is_never_in_parity() -> None:
    same = plane(0.1, 0.2, 0.3, 0.4)
    with pytest.raises(ParityError):
        require_parity(compare([same, plane(0.1, 0.2, 0.3, np.nan)], [same, same]), 1e-3, "It")


def test_another_shape_is_refused() -> None:
    with pytest.raises(ParityError, match=r"\(1, 1, 2, 1\) for image0, expected \(1, 1, 2, 2\)"):
        compare([plane(0, 0, 0, 0)], [plane(0, 0)])


def test_a_collapsed_candidate_is_refused_with_advice() -> None:
    with pytest.raises(ParityError, match="collapsed") as caught:
        compare([plane(0.9, 0.1, 0.1, 0.1)], [plane(0.1, 0.1, 0.1, 0.1)])
    for words in ("only background in image0", "25% foreground", "Calibrate with more", "fp32"):
        assert words in str(caught.value)


def test_an_image_whose_foreground_is_somewhere_else_is_refused() -> None:
    same, reference = plane(0.9, 0.9, 0.1, 0.1), plane(0.9, 0.9, 0.1, 0.1)
    with pytest.raises(ParityError, match="collapsed on image1") as caught:
        compare([same, reference], [same, plane(0.9, 0.1, 0.9, 0.9)])
    for words in ("Dice of 0.40", "0.5 is the least", "Calibrate with more", "fp32"):
        assert words in str(caught.value)


def test_half_of_the_foreground_is_no_collapse() -> None:
    agreement = compare([plane(0.9, 0.9, 0.1, 0.1)], [plane(0.9, 0.1, 0.9, 0.1)])
    assert agreement.flips_per_10k == 5000


def test_a_speck_may_vanish() -> None:
    # One pixel of 200 is below the 1 % from which on nothing found means collapse.
    reference = np.zeros((1, 1, 10, 20), np.float32)
    reference[0, 0, 0, 0] = 0.6
    agreement = compare([reference], [np.zeros_like(reference)])
    assert agreement.flips_per_10k == pytest.approx(50)


def test_one_percent_may_not_vanish() -> None:
    reference = np.zeros((1, 1, 10, 10), np.float32)
    reference[0, 0, 0, 0] = 0.6
    with pytest.raises(ParityError, match="1% foreground"):
        compare([reference], [np.zeros_like(reference)])


def test_lists_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare([plane(0, 0, 0, 0)] * 2, [plane(0, 0, 0, 0)])


def agreement_with(largest: float) -> Agreement:
    return Agreement(3, largest, 0.001, 2.5, "ISIC_0000065")


def test_parity_holds_up_to_the_tolerance() -> None:
    require_parity(agreement_with(1e-3), 1e-3, "The ONNX graph")


@pytest.mark.parametrize("largest", [1.01e-3, np.nan])
def test_parity_beyond_the_tolerance_is_refused(largest: float) -> None:
    with pytest.raises(ParityError) as caught:
        require_parity(agreement_with(largest), 1e-3, "The ONNX graph")
    for words in ("The ONNX graph", "ISIC_0000065", "allowed is 1e-03", "Report it as a bug"):
        assert words in str(caught.value)


def test_the_record_holds_every_number() -> None:
    assert agreement_with(0.5).to_json() == {
        "images": 3,
        "max_abs_diff": 0.5,
        "mean_abs_diff": 0.001,
        "flips_per_10k": 2.5,
        "worst_image": "ISIC_0000065",
    }
