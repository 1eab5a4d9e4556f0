"""Networks are made by classes and factories, with arguments that a TOML file can hold."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from edgeseg.errors import UsageError
from edgeseg.models.construction import make_module, materialise, read_argument, require_plain


class Net(nn.Module):
    def __init__(self, norm: Any = nn.Identity, weights: Any = "imagenet") -> None:
        super().__init__()
        if weights is not None:
            raise OSError(f"no network to fetch {weights}")
        self.norm = norm(3)
        self.head = nn.LazyConv2d(1, 1)

    def forward(self, image: Any) -> Any:
        return self.head(self.norm(image))


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    module = types.ModuleType("zoo_of_tests")
    vars(module).update(
        make=lambda **arguments: Net(**arguments),
        text=lambda: "a network",
        nested=types.SimpleNamespace(Net=Net),
        Other=dict,
        made=nn.ReLU(),
    )
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


@pytest.mark.parametrize("name", ["make", "nested.Net"])
def test_factories_and_nested_classes_make_networks(name: str) -> None:
    arguments = {"norm": "torch.nn:BatchNorm2d", "weights": "None"}
    network = make_module(f"zoo_of_tests:{name}", arguments)
    assert isinstance(network.norm, nn.BatchNorm2d)


def test_lazy_layers_learn_their_shapes_and_statistics_stay() -> None:
    network = Net(nn.BatchNorm2d, None)
    materialise(network, (1, 3, 8, 8), "zoo:Net")
    assert network.head.weight.shape == (1, 3, 1, 1)
    assert int(network.norm.num_batches_tracked) == 0
    assert network.training


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text", "gives a str, which is no torch.nn.Module. Let it return the network"),
        ("Other", "is no torch.nn.Module. Name the network's class, or a function"),
        ("made", "is no torch.nn.Module. Name the network's class, or a function"),
        ("gone", "has no gone. Name a class"),
        ("nested.gone", "has no nested.gone. Name a class"),
        ("make", r"test_construction\.py, line \d+: OSError: no network to fetch imagenet"),
    ],
)
def test_what_makes_no_network_says_what_to_correct(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_module(f"zoo_of_tests:{name}", {})


def test_arguments_mean_none_and_objects() -> None:
    assert read_argument("None") is None
    assert read_argument({"text": "None"}) == "None"
    assert read_argument(["torch.nn:GELU", 1, {"a": "None"}]) == [nn.GELU, 1, {"a": None}]
    assert read_argument("none: a text") == "none: a text"
    with pytest.raises(UsageError, match="Cannot find the module nowhere"):
        read_argument("nowhere:Net")


def test_an_argument_that_is_no_plain_value_is_named() -> None:
    import datetime

    require_plain({"a": [1, 0.5, True, {"b": "c"}]}, "arguments")
    with pytest.raises(ValueError, match=r"arguments\.when\.day is datetime.*no text, number"):
        require_plain({"when": {"day": datetime.date(2024, 1, 2)}}, "arguments")
