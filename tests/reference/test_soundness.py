"""Answers that cannot be what a spec says are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from edgeseg.errors import UsageError
from edgeseg.models.logits import LogitsNetwork
from edgeseg.reference.reference import torch_predictor
from edgeseg.reference.soundness import require_sound_answers

IMAGES = tuple(np.linspace(low, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4) for low in (0, 0.5))


class Net(nn.Module):
    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image: Any) -> Any:
        return self.answer(image)


def check(network: nn.Module) -> None:
    predict = torch_predictor(network.eval())
    answers = [predict(image) for image in IMAGES]
    require_sound_answers(network, "net", predict, IMAGES, answers)


def test_a_network_that_is_random_in_eval_mode_is_told_so() -> None:
    with pytest.raises(UsageError, match=r"random in eval mode.*training=self\.training"):
        check(Net(lambda image: nn.functional.dropout(image[:, :1], 0.3)))


def test_values_outside_of_0_and_1_are_no_probabilities() -> None:
    with pytest.raises(UsageError, match=r'from -1 to 1 .*no probabilities.*returns = "logits"'):
        check(Net(lambda image: image * 2 - 1))


def test_a_probability_twice_is_recognised_by_its_values() -> None:
    """The first is from 0 to 1, and the sum of the others is one."""
    with pytest.raises(UsageError, match=r'already.*Write returns = "probabilities"'):
        check(LogitsNetwork(Net(lambda image: image.reshape(1, 1, 12, 4)[:, :, [0, 11, 0, 11]])))
    with pytest.raises(UsageError, match=r'already.*Write returns = "probabilities"'):
        check(LogitsNetwork(Net(lambda image: torch.cat([image[:, :1], 1 - image[:, :1]], 1))))


def test_sound_answers_pass() -> None:
    check(Net(lambda image: image))
    check(LogitsNetwork(Net(lambda image: image[:, :1] * 6 - 3)))
    check(LogitsNetwork(Net(lambda image: image[:, :1] * 0.2 + 0.1)))  # not trained yet
    check(LogitsNetwork(Net(lambda image: image)))


def test_an_exception_of_the_network_names_file_and_line() -> None:
    def answer(image: Any) -> Any:
        raise KeyError("stage4")

    with pytest.raises(UsageError, match=r"of Net fails.*test_soundness\.py, line \d+: KeyE"):
        check(Net(answer))


def test_a_first_layer_that_works_in_place_leaves_the_image_alone() -> None:
    before = [image.copy() for image in IMAGES]
    check(Net(lambda image: image.mul_(0.5)[:, :1].clamp(0.1, 0.9)))
    assert all(map(np.array_equal, IMAGES, before))
