from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeseg.errors import WeightsError
from edgeseg.models.weights import save_weights
from edgeseg.training.lossnet import LossNet, VggFeatures

# (in, out) channels by place in torchvision's vgg16().features, the fifth stage left out.
CONVOLUTIONS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
}


def torchvision_state() -> dict[str, Any]:
    """Another draw than the built-in one, in torchvision's layout."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for place, (inputs, outputs) in CONVOLUTIONS.items():
        gain = math.sqrt(2 / (9 * inputs))
        weight = torch.randn((outputs, inputs, 3, 3), generator=generator) * gain
        state[f"features.{place}.weight"] = weight
        state[f"features.{place}.bias"] = torch.randn(outputs, generator=generator)
    return state


@pytest.fixture(scope="module")
def features() -> VggFeatures:
    return VggFeatures()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def save(state: dict[str, Any]) -> Path:
        torch.save(state, tmp_path / "vgg16.pth")
        return tmp_path / "vgg16.pth"

    return save


def test_stages_have_the_channels_and_sizes_of_vgg16(features: VggFeatures) -> None:
    shapes = [tuple(stage.shape) for stage in features(torch.zeros(2, 3, 32, 48))]
    assert shapes == [(2, 64, 32, 48), (2, 128, 16, 24), (2, 256, 8, 12), (2, 512, 4, 6)]


def test_names_and_shapes_are_those_of_torchvision(features: VggFeatures) -> None:
    assert {name: tensor.shape for name, tensor in features.state_dict().items()} == {
        name: tensor.shape for name, tensor in torchvision_state().items()
    }


def test_stages_end_behind_a_relu_and_begin_with_a_pool(features: VggFeatures) -> None:
    # features[:4], [4:9], [9:16], [16:23]
    parts = [features.features[slice(*ends)] for ends in ((0, 4), (4, 9), (9, 16), (16, 23))]
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for stage in features(image.clone()):
        image = parts.pop(0)(image)
        torch.testing.assert_close(stage, image)
    assert not parts


def test_random_features_are_always_the_same(features: VggFeatures) -> None:
    torch.manual_seed(5)
    again = VggFeatures()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1)), "the global generator was moved"
    for name, tensor in features.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert again.origin == features.origin == "random, seed 16"


@pytest.mark.parametrize("place", CONVOLUTIONS)
def test_random_features_keep_the_size_of_what_passes(place: int, features: VggFeatures) -> None:
    # He: variance 2 / (inputs of a neuron).
    weight = features.get_submodule(f"features.{place}").weight
    expected = math.sqrt(2 / (9 * CONVOLUTIONS[place][0]))
    assert float(weight.std()) == pytest.approx(expected, rel=0.05)
    assert not features.get_submodule(f"features.{place}").bias.any()


def test_a_whole_checkpoint_of_torchvision_loads(save: Callable[..., Path]) -> None:
    state = torchvision_state()
    behind = {"classifier.0.weight": torch.ones(2, 2), "features.28.bias": torch.ones(512)}
    loaded = VggFeatures(save({**state, **behind}))
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_features_are_known_by_their_weights_not_their_file(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    state = torchvision_state()
    loaded = VggFeatures(save(state))
    save_weights(tmp_path / "copy.safetensors", loaded)
    assert VggFeatures(tmp_path / "copy.safetensors").origin == loaded.origin
    state["features.21.bias"][0] += 1
    assert VggFeatures(save(state)).origin != loaded.origin


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No weights file at .*gone\.pth\. Check the path"):
        VggFeatures(tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("features.21.weight", None),  # shallower
        ("features.1.running_mean", torch.ones(64)),  # with batch normalisation
        ("features.0.weight", torch.ones(64, 1, 3, 3)),  # grey
    ],
)
def test_another_layout_says_which_names_are_expected(
    save: Callable[..., Path], name: str, changed: Any
) -> None:
    state = torchvision_state()
    state[name] = changed
    path = save({key: tensor for key, tensor in state.items() if tensor is not None})
    with pytest.raises(WeightsError) as caught:
        VggFeatures(path)
    assert name in str(caught.value)
    assert "features.N.weight and features.N.bias for N = 0, 2, 5, 7, 10," in str(caught.value)
    assert "--model" not in str(caught.value)


def test_equal_masks_have_no_distance(features: VggFeatures) -> None:
    mask = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    assert float(LossNet(features)(mask, mask.clone())) == 0


def test_distance_of_two_grounds_by_hand() -> None:
    # Only the green of the first pixel counts, and each layer passes its channel 0 on unchanged:
    # white is (1 - 0.456) / 0.224 there, black below zero, so that ReLU makes it 0. One of 64,
    # 128, 256 and 512 channels differs.
    features = VggFeatures()
    for place in CONVOLUTIONS:
        layer = features.get_submodule(f"features.{place}")
        layer.weight.zero_()
        layer.weight[0, 1 if place == 0 else 0, 1, 1] = 1
    white, black = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    error = ((1 - 0.456) / 0.224) ** 2
    expected = error * (1 / 64 + 1 / 128 + 1 / 256 + 1 / 512)
    assert float(LossNet(features)(white, black)) == pytest.approx(expected, rel=1e-5)


def test_gradient_reaches_the_prediction_only() -> None:
    features = VggFeatures()
    probability = torch.full((1, 1, 16, 16), 0.5, requires_grad=True)
    mask = torch.zeros(1, 1, 16, 16, requires_grad=True)
    LossNet(features)(probability, mask).backward()
    assert probability.grad is not None
    assert probability.grad.abs().max() > 0
    assert mask.grad is None
    assert all(parameter.grad is None for parameter in features.parameters())


def test_half_precision_masks_are_compared_in_float32(features: VggFeatures) -> None:
    probability, mask = torch.full((1, 1, 8, 8), 0.5), torch.ones(1, 1, 8, 8)
    loss = LossNet(features)
    value = loss(probability.bfloat16(), mask.bfloat16())
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(probability, mask))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(loss(probability, mask)) == pytest.approx(float(value), rel=0.05)
