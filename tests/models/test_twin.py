from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeseg.errors import UnknownNameError, WeightsError
from edgeseg.models import find_model
from edgeseg.models.egeunet.network import ChannelLayerNorm, Gab
from edgeseg.models.logits import inner_network
from edgeseg.models.spec import ModelSpec
from edgeseg.models.twin import (
    ChannelAffine,
    ConvolutionBridge,
    Twin,
    parts_that_stay,
    replace_slow_parts,
)
from edgeseg.models.variants import split_variant_name, variant_of
from edgeseg.models.weights import load_state, save_weights
from edgeseg.training.recipes import find_recipe


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
    assert split_variant_name(name) == parts


def test_spec_is_that_of_another_network_under_the_same_contracts() -> None:
    original, twin = find_model("egeunet"), find_model("egeunet-twin")
    assert (twin.inputs, twin.outputs) == (original.inputs, original.outputs)
    assert (twin.name, twin.weights) == ("egeunet-twin", None)
    assert twin.title == "Edge twin of EGE-UNet, skin lesions"
    # Widths of the bridges of large maps: high, low. A BatchNorm learns what a GroupNorm does.
    bridges = ((16, 8), (24, 16))
    grown = sum(9 * low * (high + low + 1) + low for high, low in bridges)
    gone = sum(
        parameter.numel()
        for name, parameter in original.make_network().named_parameters()
        if name.startswith(("GAB1.", "GAB2."))
    )
    assert twin.parameters == original.parameters + grown - gone
    assert ModelSpec.from_json(twin.to_json()).make_network().replaced


def test_shipped_twin_is_the_variant_of_its_original() -> None:
    shipped = find_model("egeunet-twin-relu")
    assert shipped.weights is not None
    assert replace(shipped, weights=None) == variant_of(find_model("egeunet"), "-twin-relu")
    assert find_model("egeunet-twin-relu", None, (64, 64)).inputs.height == 64
    smaller = find_model("ulite-twin-relu")
    assert (smaller.inputs.height, smaller.inputs.width) == (192, 192)
    original = find_model("ulite", None, (192, 192))
    assert replace(smaller, weights=None) == variant_of(original, "-twin-relu")
    original = find_model("miniseg", None, (368, 368))
    assert replace(find_model("miniseg-twin-relu"), weights=None) == variant_of(
        original, "-twin-relu"
    )


def test_unknown_original_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"'egunet-twin'\. Did you mean egeunet"):
        find_model("egunet-twin")


@pytest.mark.parametrize(
    ("name", "activation"), [("-twin", torch.nn.Hardswish), ("-twin-relu", torch.nn.ReLU)]
)
def test_nothing_slow_is_left_on_large_maps(name: str, activation: type) -> None:
    network = find_model(f"egeunet{name}", None, (64, 64)).make_network().eval()
    large: dict[str, type] = {}

    def listener(name: str) -> Callable[..., None]:
        def listen(module: Any, inputs: Any, output: Any) -> None:
            if output.ndim == 4 and output.shape[2] > 8:
                large[name] = type(module)

        return listen

    for name, module in inner_network(network).named_modules():
        if not list(module.children()):
            module.register_forward_hook(listener(name))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        mask = network(image)
        assert torch.equal(torch.sigmoid(network.forward_logits(image).mask), mask)
    assert mask.shape == (1, 1, 64, 64)
    kinds = set(large.values())
    assert kinds == {torch.nn.Conv2d, torch.nn.BatchNorm2d, activation}


def test_what_costs_little_stays() -> None:
    network = inner_network(Twin("edgeseg.models.egeunet:EgeUnet"))
    kinds = {name: type(module) for name, module in network.named_modules()}
    assert kinds["ebn3"] is torch.nn.BatchNorm2d
    assert kinds["ebn4"] is torch.nn.GroupNorm  # of 1/8 of the image
    assert kinds["encoder4.0.norm1"] is ChannelLayerNorm
    assert kinds["GAB2"] is ConvolutionBridge
    assert kinds["GAB3"] is Gab
    # The gates do not depend on the image.
    assert kinds["decoder1.0.conv_xy.1"] is torch.nn.GELU
    assert kinds["decoder1.0.dw.1"] is torch.nn.Hardswish


def test_asking_what_stays_leaves_no_trace() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GELU()
    )
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert parts_that_stay(network) == set()
    assert torch.rand(3).equal(expected)
    assert network.training
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


def test_replaced_modules_are_named() -> None:
    twin = Twin("edgeseg.models.egeunet:EgeUnet")
    assert twin.replaced["ebn1"] == "BatchNorm2d"
    assert twin.replaced["GAB1"] == "ConvolutionBridge"
    assert not any(name.startswith("GAB1.") for name in twin.replaced)
    assert twin.replaced["activation"] == "Hardswish"
    assert replace_slow_parts(torch.nn.Sequential(torch.nn.ReLU()), torch.nn.ReLU) == {}
    norms = torch.nn.Sequential(torch.nn.GroupNorm(1, 2), ChannelLayerNorm(2), torch.nn.GELU())
    replaced = replace_slow_parts(norms, torch.nn.ReLU, {"0"})
    assert replaced == {"1": "ChannelAffine", "2": "ReLU"}


def test_affine_by_hand() -> None:
    layer = ChannelAffine(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, -1.0]))
        layer.bias.copy_(torch.tensor([0.5, 3.0]))
    assert layer(torch.ones(1, 2, 1, 1)).flatten().tolist() == [2.5, 2.0]


def test_bridge_by_hand() -> None:
    # Kernels that pick the centre: high * 2 after the resize, low * 3, the mask's right neighbour.
    bridge = ConvolutionBridge(1, 1)
    with torch.no_grad():
        for layer, value in ((bridge.high, 2.0), (bridge.low, 3.0), (bridge.mask, 0.0)):
            layer.weight.zero_()
            layer.weight[0, 0, 1, 1] = value
        bridge.mask.weight[0, 0, 1, 2] = 1.0
        bridge.low.bias.fill_(0.5)
    high = torch.tensor([[[[0.0, 3.0]]]])
    low = torch.ones(1, 1, 1, 4)
    mask = torch.tensor([[[[10.0, 20.0, 30.0, 40.0]]]])
    # Resized with aligned corners: 0, 1, 2, 3.
    wanted = [0 + 3 + 20 + 0.5, 2 + 3 + 30 + 0.5, 4 + 3 + 40 + 0.5, 6 + 3 + 0.5]
    assert bridge(high, low, mask).flatten().tolist() == pytest.approx(wanted)


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
    assert find_recipe(find_model("egeunet-twin"), "short") == find_recipe(
        find_model("egeunet"), "short"
    )


@pytest.mark.parametrize(
    ("layer", "is_replaced"),
    [
        (torch.nn.Conv2d(3, 16, 7, padding=3), True),
        (torch.nn.Conv2d(1, 8, 9, padding=4, bias=False), True),
        (torch.nn.Conv2d(3, 16, 5, padding=2), False),
        (torch.nn.Conv2d(3, 16, 7, padding=3, stride=2), False),
        (torch.nn.Conv2d(3, 16, 7), False),
        (torch.nn.Conv2d(3, 3, 7, padding=3, groups=3), False),
        (torch.nn.Conv2d(16, 16, 7, padding=3), False),
    ],
)
def test_a_wide_stem_becomes_small(layer: torch.nn.Conv2d, is_replaced: bool) -> None:
    parent = torch.nn.Sequential(layer)
    assert bool(replace_slow_parts(parent, torch.nn.ReLU)) == is_replaced
    image = torch.rand(1, layer.in_channels, 16, 16)
    if is_replaced:
        assert parent[0].kernel_size == (3, 3)
        assert parent(image).shape == layer(image).shape


def test_prelu_becomes_relu() -> None:
    replaced = find_model("miniseg-twin-relu").make_network().replaced
    assert set(replaced.values()) == {"ReLU"}
    network = torch.nn.Sequential(torch.nn.PReLU(2))
    assert replace_slow_parts(network, torch.nn.Hardswish) == {"0": "ReLU"}


def test_ulite_becomes_one_of_relu_with_a_small_stem() -> None:
    replaced = find_model("ulite-twin-relu").make_network().replaced
    assert replaced.pop("conv_in") == "Conv2d"
    assert set(replaced.values()) == {"ReLU"}
