from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from edgeseg.distillation.logits import logits_divergence
from edgeseg.distillation.outputs import main_logits, match_channels, match_size, some_images
from edgeseg.errors import UsageError
from edgeseg.models.egeunet.network import EgeUnetLogits

LOGIT_3 = math.log(3)  # sigmoid 3/4


def plane(*values: float) -> torch.Tensor:
    """(1, 1, 1, W)."""
    return torch.tensor(values).view(1, 1, 1, -1)


def test_bernoulli_divergence_by_hand() -> None:
    # p = 3/4 and q = 1/2: 3/4 ln(3/2) + 1/4 ln(1/2); the other pixel agrees: half of it.
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    value = logits_divergence(plane(0.0, 1.0), plane(LOGIT_3, 1.0))
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_divergence_is_of_the_student_from_the_teacher() -> None:
    # p = 1/2, q = 3/4: 1/2 ln(2/3) + 1/2 ln 2.
    value = logits_divergence(plane(LOGIT_3), plane(0.0))
    assert float(value) == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), rel=1e-6)


def test_classes_are_the_channels_by_hand() -> None:
    # p = (1/2, 1/4, 1/4), q = 1/3 each: 1/2 ln(3/2) + 2 * 1/4 ln(3/4).
    teacher = torch.tensor([math.log(2), 0.0, 0.0]).view(1, 3, 1, 1)
    value = logits_divergence(torch.zeros(1, 3, 1, 1), teacher)
    assert float(value) == pytest.approx(0.5 * math.log(1.5) + 0.5 * math.log(0.75), rel=1e-6)


def test_temperature_softens_and_its_square_makes_up() -> None:
    # At T = 2 the logits ln 9 and 0 become ln 3 and 0.
    value = logits_divergence(plane(0.0), plane(2 * LOGIT_3), temperature=2.0)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(value) == pytest.approx(expected, rel=1e-6)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_one_channel_says_what_two_say(student: float, teacher: float) -> None:
    one = logits_divergence(plane(student), plane(teacher))
    two = logits_divergence(match_channels(plane(student), 2), match_channels(plane(teacher), 2))
    assert float(one) == pytest.approx(float(two), rel=1e-4, abs=1e-6)
    assert float(one) >= -1e-6


def test_sure_networks_give_finite_gradients() -> None:
    student = plane(200.0, -200.0).requires_grad_()
    logits_divergence(student, plane(-200.0, 200.0)).backward()
    assert student.grad is not None
    # d/ds = (q - p) / pixels
    assert student.grad.flatten().tolist() == pytest.approx([0.5, -0.5])


def test_two_channels_become_one_and_back() -> None:
    both = torch.tensor([1.0, 3.5]).view(1, 2, 1, 1)
    one = match_channels(both, 1)
    assert one.flatten().tolist() == [2.5]
    assert match_channels(one, 2).flatten().tolist() == [0.0, 2.5]
    assert match_channels(both, 2) is both


def test_other_classes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"3 channels, the student 1.*Train a teacher for"):
        match_channels(torch.zeros(1, 3, 1, 1), 1)


def test_sizes_are_matched_bilinearly() -> None:
    small = plane(0.0, 4.0)
    assert match_size(small, torch.zeros(1, 1, 1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    assert match_size(small, torch.zeros(1, 3, 1, 2)) is small


def test_outputs_of_any_form_give_main_logits_and_some_images() -> None:
    mask = torch.arange(3.0).view(3, 1, 1, 1)
    named = EgeUnetLogits(mask, (mask + 10, mask + 20))
    assert main_logits(mask) is main_logits(named) is main_logits([mask, mask + 1]) is mask
    some = some_images(named, slice(1, None))
    assert isinstance(some, EgeUnetLogits)
    assert some.mask.flatten().tolist() == [1, 2]
    assert [side.flatten().tolist() for side in some.side] == [[11, 12], [21, 22]]
    assert [one.shape[0] for one in some_images([mask, mask], slice(2))] == [2, 2]
