from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgeseg.errors import UnknownNameError, WeightsError  # noqa: E402
from edgeseg.models import find_model  # noqa: E402
from edgeseg.models.logits import inner_network  # noqa: E402
from edgeseg.models.registry import ModelSpec  # noqa: E402
from edgeseg.models.twin import (  # noqa: E402
    ChannelAffine,
    Twin,
    absorbing_convolutions,
    replace_slow_parts,
)
from edgeseg.models.twin_specs import split_twin_name  # noqa: E402
from edgeseg.models.weights import load_state, save_weights  # noqa: E402
from edgeseg.train.recipes import find_recipe  # noqa: E402

SLOW = (torch.nn.GroupNorm, torch.nn.GELU)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("egeunet", ("egeunet", "")),
        ("egeunet-twin", ("egeunet", "-twin")),
        ("egeunet-twin-relu", ("egeunet", "-twin-relu")),
        ("-twin", ("-twin", "")),
    ],
)
def test_names(name: str, parts: tuple[str, str]) -> None:
    assert split_twin_name(name) == parts


def test_spec_is_that_of_another_network_under_the_same_contracts() -> None:
    original, twin = find_model("egeunet"), find_model("egeunet-twin")
    assert (twin.inputs, twin.outputs) == (original.inputs, original.outputs)
    assert (twin.name, twin.weights) == ("egeunet-twin", None)
    assert twin.title == "Edge twin of EGE-UNet, skin lesions"
    assert twin.macs == original.macs
    # 25 LayerNorms before convolutions are gone: 2 numbers a channel.
    gone = sum(
        2 * len(original.make_network().get_submodule(name).weight)
        for name in absorbing_convolutions(original.make_network())
    )
    assert twin.parameters == original.parameters - gone
    assert ModelSpec.from_json(twin.to_json()).make_network().replaced


def test_unknown_original_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"'egunet-twin'\. Did you mean egeunet"):
        find_model("egunet-twin")


@pytest.mark.parametrize(
    ("name", "activation"), [("-twin", torch.nn.Hardswish), ("-twin-relu", torch.nn.ReLU)]
)
def test_nothing_slow_is_left(name: str, activation: type) -> None:
    network = find_model(f"egeunet{name}", None, (32, 32)).make_network().eval()
    kinds = {type(module) for module in network.modules()}
    assert not kinds & set(SLOW)
    assert not any(kind.__name__ == "ChannelLayerNorm" for kind in kinds)
    assert {activation, torch.nn.BatchNorm2d, ChannelAffine, torch.nn.Identity} <= kinds
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        mask = network(image)
        assert torch.equal(torch.sigmoid(network.forward_logits(image).mask), mask)
    assert mask.shape == (1, 1, 32, 32)


def test_replaced_modules_are_named() -> None:
    twin = Twin("edgeseg.models.egeunet:EgeUnet")
    assert twin.replaced["ebn1"] == "BatchNorm2d"
    assert twin.replaced["GAB1.g0.0"] == "Identity"
    assert twin.replaced["encoder4.0.norm1"] == "ChannelAffine"
    assert twin.replaced["activation"] == "Hardswish"
    assert replace_slow_parts(torch.nn.Sequential(torch.nn.ReLU()), torch.nn.ReLU) == {}


def test_affine_by_hand() -> None:
    layer = ChannelAffine(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.5, 3.0]))
    assert layer(torch.ones(1, 2, 1, 1)).flatten().tolist() == [2.5, 2.0]


def test_weights_keep_the_names_of_the_network(tmp_path) -> None:  # type: ignore[no-untyped-def]
    spec = find_model("egeunet-twin")
    twin = spec.make_network()
    assert inner_network(twin) is twin.network
    path = tmp_path / "twin.safetensors"
    save_weights(path, twin)
    assert "ebn1.running_mean" in load_state(path)
    assert "final.weight" in load_state(path)
    spec.load_network(path)
    with pytest.raises(WeightsError, match="Check that --model names the network"):
        find_model("egeunet").load_network(path)


def test_recipes_are_those_of_the_original() -> None:
    assert find_recipe("egeunet-twin", "short") == find_recipe("egeunet", "short")
