"""Every network gives the published module's outputs for weights that a rule makes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from torch.nn import functional as F

from edgeseg.models import find_model
from edgeseg.models.m2snet.network import BoxFilter
from edgeseg.models.miniseg.network import MiniSeg
from edgeseg.models.ulite.network import AxialDepthwise

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-4  # of the standard deviation of the output
NETWORKS = ("ulite", "miniseg", "msnet", "m2snet")  # egeunet has a file of its own


def draw_tensor(key: str, shape: tuple[int, ...], record: dict[str, Any]) -> NDArray[np.float32]:
    """The rule that the golden outputs were made with."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        values = generator.uniform(0.5, 1.5, shape)
        if key.startswith(("conv_3.norm", "conv_5.norm")):
            values *= record["box_filter_variance_gain"]
    elif key.endswith("running_mean"):
        values = generator.normal(0, 0.1, shape)
    elif len(shape) >= 2:
        values = record["gain"] * generator.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))
    elif key.endswith("bias"):
        values = generator.normal(0, 0.05, shape)
    else:
        values = generator.uniform(0.5, 1.5, shape)
    return values.astype(np.float32)


def read_record(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return record


def load_by_rule(name: str) -> tuple[Any, dict[str, Any]]:
    """The network with drawn weights, in eval mode, and its record."""
    record = read_record(name)
    network = find_model(name).make_network()
    state = network.state_dict()
    for key, shape, dtype in record["state_dict"]:
        if "int" not in dtype:
            state[key] = torch.from_numpy(draw_tensor(key, tuple(shape), record))
    network.load_state_dict(state, strict=True)
    return network.eval(), record


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_those_of_the_published_module(name: str) -> None:
    network, record = load_by_rule(name)
    generator = np.random.default_rng(zlib.crc32(b"input"))
    image = torch.from_numpy(generator.uniform(0, 1, record["input_shape"]).astype(np.float32))
    with torch.inference_mode():
        logits = network.forward_logits(image)
        mask = network(image)
    outputs = logits if isinstance(logits, tuple) else (logits,)
    with np.load(GOLDEN / f"{name}.npz") as golden:
        assert len(golden.files) == len(outputs)
        for key, output in zip(record["outputs"], outputs, strict=True):
            error = np.abs(output.numpy() - golden[key]).max()
            assert error <= TOLERANCE * golden[key].std(), key
    channels = find_model(name).outputs.channels
    last = torch.sigmoid(outputs[0]) if channels == 1 else torch.softmax(outputs[0], dim=1)
    assert mask.shape[1] == channels
    torch.testing.assert_close(mask, last)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_checkpoint_fits_without_a_change(name: str) -> None:
    state = find_model(name).make_network().state_dict()
    layout = {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert layout == {key: tuple(shape) for key, shape, _ in read_record(name)["state_dict"]}


def random_axial_pair() -> AxialDepthwise:
    torch.manual_seed(0)
    return AxialDepthwise(4, 7, dilation=2)


def trained_axial_pair() -> AxialDepthwise:
    network = find_model("ulite").load_network(find_model("ulite").resolve_weights(None))
    block: AxialDepthwise = network.get_submodule("e3.dw")
    return block


@pytest.mark.parametrize("make", [random_axial_pair, trained_axial_pair])
def test_an_axial_pair_is_one_convolution_with_a_cross_kernel(
    make: Callable[[], AxialDepthwise],
) -> None:
    block = make()
    channels, dilation = block.dw_h.in_channels, block.dw_h.dilation[0]
    cross = torch.zeros(channels, 1, 7, 7)
    cross[:, :, :, 3:4] += block.dw_h.weight
    cross[:, :, 3:4, :] += block.dw_w.weight
    cross[:, :, 3, 3] += 1
    x = torch.randn(2, channels, 19, 23)
    bias = block.dw_h.bias + block.dw_w.bias
    padding = 3 * dilation
    merged = F.conv2d(x, cross, bias, padding=padding, dilation=dilation, groups=channels)
    torch.testing.assert_close(block(x), merged, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [3, 5])
def test_a_box_filter_is_the_convolution_of_ones(size: int) -> None:
    torch.manual_seed(0)
    block = BoxFilter(size).eval()
    x = torch.randn(2, 64, 9, 11)
    ones = torch.ones(64, 64, size, size)
    expected = torch.relu(block.norm(F.conv2d(x, ones, padding=size // 2)))
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def load_shipped_miniseg() -> Any:
    return find_model("miniseg").load_network(find_model("miniseg").resolve_weights(None))


@pytest.mark.parametrize("load", [lambda: load_by_rule("miniseg")[0], load_shipped_miniseg])
def test_without_auxiliary_heads_the_mask_is_the_same(load: Callable[[], Any]) -> None:
    network = load()
    deployed = MiniSeg(side_outputs=False)
    deployed.load_state_dict(network.state_dict(), strict=False)
    assert sum(p.numel() for p in deployed.parameters()) == 82_666
    image = torch.rand(1, 3, 48, 64)
    with torch.inference_mode():
        assert torch.equal(deployed.eval()(image), network(image))
