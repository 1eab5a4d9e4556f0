"""One forward pass tells what a network computes, constants included."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from edgeseg.contract import InputContract, MeanStd
from edgeseg.errors import UsageError
from edgeseg.models.probe import trace_digest

INPUTS = InputContract(8, 8, 1, MeanStd())


class Net(nn.Module):
    def __init__(self, **constants: Any) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, constants.get("width", 2), 1)
        self.constants = constants
        self.register_buffer("kept", torch.rand(1))
        self.register_buffer("grid", torch.tensor(constants.get("grid", 1.0)), persistent=False)

    def forward(self, image: Any) -> Any:
        act = self.constants.get("act", torch.relu)
        table = torch.tensor(self.constants.get("table", [1.0, 2.0]))
        scale = self.constants.get("scale", 3.0)
        return act(self.layer(image)) * scale * self.kept * self.grid * table[0]


def digest(**constants: Any) -> str:
    return trace_digest(Net(**constants), INPUTS)


def test_weights_and_saved_buffers_do_not_count() -> None:
    assert digest() == digest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act", torch.tanh),
        ("scale", 3.5),
        ("table", [1.0, 2.5]),
        ("grid", 2.0),
        ("width", 3),
    ],
)
def test_each_operator_setting_and_constant_counts(name: str, value: Any) -> None:
    assert digest(**{name: value}) not in (digest(), digest(scale=4.0))


@pytest.mark.parametrize("dtype", ["bfloat16", "bool", "complex64", "int64"])
def test_constants_of_any_type_count(dtype: str) -> None:
    def act(value: Any) -> Any:
        return value + torch.ones(1).to(getattr(torch, dtype)).real.to(torch.float32)

    assert digest(act=act) == digest(act=act)


def test_a_forward_that_fails_is_named() -> None:
    def act(value: Any) -> Any:
        raise ArithmeticError("no such thing")

    with pytest.raises(UsageError, match=r"forward of Net fails .*no such thing.*Correct its code"):
        digest(act=act)
