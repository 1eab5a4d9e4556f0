"""The encoder gives the published module's features; the U-Net on it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from torch.nn import functional as F

from edgeseg.errors import UsageError, WeightsError
from edgeseg.models import find_model
from edgeseg.models.backbones.efficientnet import (
    FEATURE_CHANNELS,
    EfficientNetLite0,
    pad_as_tensorflow,
)
from edgeseg.models.efficient_unet.network import EfficientUnet
from edgeseg.models.weights import load_backbone, save_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-4  # of the standard deviation of a feature map


def draw_tensor(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The rule that the golden features were made with."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) >= 2:
        values = generator.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif key.endswith(("running_mean", "bias")):
        values = generator.normal(0, 0.1, shape)
    else:
        values = generator.uniform(0.5, 1.5, shape)
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the classifier's checkpoint."""
    text = (GOLDEN / "efficientnet_lite0.json").read_text(encoding="utf-8")
    return {key: tuple(shape) for key, shape in json.loads(text)["state_dict"]}


@pytest.fixture(scope="module")
def checkpoint(
    layout: dict[str, tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "lite0.pth"
    state = {key: torch.from_numpy(draw_tensor(key, shape)) for key, shape in layout.items()}
    torch.save(state, path)
    return path


def test_features_equal_those_of_the_published_module(checkpoint: Path) -> None:
    network = EfficientUnet().eval()
    load_backbone(network, "encoder", checkpoint)
    with np.load(GOLDEN / "efficientnet_lite0.npz") as golden, torch.inference_mode():
        features = network.encoder(torch.from_numpy(golden["image"]))
        assert [feature.shape[1] for feature in features] == list(FEATURE_CHANNELS)
        for index, feature in enumerate(features):
            wanted = golden[f"feature{index}"]
            error = np.abs(feature.numpy() - wanted).max()
            assert error <= TOLERANCE * wanted.std(), index


def test_every_weight_of_the_encoder_is_in_the_checkpoint(layout: dict[str, Any]) -> None:
    shapes = {key: tuple(value.shape) for key, value in EfficientNetLite0().state_dict().items()}
    unused = EfficientNetLite0.unused_weights
    assert shapes == {key: shape for key, shape in layout.items() if not key.startswith(unused)}


@pytest.mark.parametrize(
    ("sides", "size", "stride", "wanted"),
    [
        ((8, 8), 3, 2, (0, 1, 0, 1)),
        ((9, 9), 3, 2, (1, 1, 1, 1)),
        ((8, 8), 5, 2, (1, 2, 1, 2)),
        ((8, 6), 5, 1, (2, 2, 2, 2)),
        ((1, 1), 3, 2, (1, 1, 1, 1)),
    ],
)
def test_padding_by_hand(
    sides: tuple[int, int], size: int, stride: int, wanted: tuple[int, ...]
) -> None:
    x = torch.rand(1, 1, *sides)
    assert torch.equal(pad_as_tensorflow(x, size, stride), F.pad(x, wanted))


def test_logits_are_those_of_the_mask() -> None:
    network = EfficientUnet(classes=3).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        logits, mask = network.forward_logits(image), network(image)
    assert logits.shape == (1, 3, 64, 96)
    torch.testing.assert_close(mask, torch.softmax(logits, dim=1))


def test_a_backbone_loads_into_a_network_of_polyps(tmp_path: Path) -> None:
    network = find_model("m2snet").make_network()
    path = tmp_path / "res2net.safetensors"
    save_weights(path, network.resnet)
    other = find_model("m2snet").make_network()
    load_backbone(other, "resnet", path)
    wanted = network.resnet.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in other.resnet.state_dict().items())


def test_checkpoint_of_another_classifier_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(path, torch.nn.Linear(2, 2))
    with pytest.raises(WeightsError, match="Check that --backbone-weights names a classifier"):
        load_backbone(EfficientUnet(), "encoder", path)


def test_network_without_a_backbone_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no backbone .* Leave --backbone-weights out"):
        load_backbone(find_model("ulite").make_network(), "", tmp_path / "any.pth")
