from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgeseg.contract import InputContract, MinMax
from edgeseg.models.complexity import count_macs, count_parameters

INPUTS = InputContract(4, 6, 2, MinMax())


def test_parameters_are_weights_and_biases() -> None:
    assert count_parameters(torch.nn.Conv2d(3, 2, 3)) == 2 * 3 * 3 * 3 + 2


def test_macs_of_convolution_by_hand() -> None:
    # 4 x 6 places, 2 outputs, each a sum over 3 channels of 3 x 3.
    assert count_macs(torch.nn.Conv2d(3, 2, 3, padding=1), INPUTS) == 4 * 6 * 2 * 27


def test_macs_of_depthwise_convolution_by_hand() -> None:
    assert count_macs(torch.nn.Conv2d(3, 3, 3, padding=1, groups=3), INPUTS) == 4 * 6 * 3 * 9


def test_normalisation_and_activation_cost_nothing() -> None:
    network = torch.nn.Sequential(torch.nn.GroupNorm(1, 3), torch.nn.GELU())
    assert count_macs(network, INPUTS) == 0


def test_parametrised_weights_are_counted_once() -> None:
    norm = torch.nn.utils.parametrizations.weight_norm
    plain = torch.nn.Conv2d(3, 4, 3)
    wanted = count_macs(plain, INPUTS)
    assert count_macs(norm(plain), INPUTS) == wanted
