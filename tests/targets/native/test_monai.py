"""Networks of MONAI, and parts that newcomers write, as users bring them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.contract import InputContract, MinMax, OutputContract
from edgeseg.reference.reference import ONNX_NAME, onnx_predictor, torch_predictor
from edgeseg.targets import find_runtime

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")

EQUAL = 1e-6  # where torch and ONNX Runtime agree to this, 1e-5 is asked for
RUNTIME = find_runtime("native", {"isa": "x86-64-v2"})
TWO = {"spatial_dims": 2, "in_channels": 3}
NETWORKS: dict[str, tuple[tuple[int, int], int, dict[str, Any]]] = {
    "BasicUNet": ((48, 80), 1, {"features": (4, 4, 8, 8, 16, 4)}),
    "UNet": ((24, 40), 1, {"channels": (4, 8, 16), "strides": (2, 2), "num_res_units": 0}),
    "UNet ": ((40, 24), 2, {"channels": (4, 8, 16), "strides": (2, 2), "num_res_units": 2}),
    "AttentionUnet": ((20, 36), 1, {"channels": (4, 8, 16), "strides": (2, 2)}),
    "SegResNet": ((24, 40), 3, {"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,)}),
    "DynUNet": (
        (24, 40),
        1,
        {
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 16],
        },
    ),
    "SwinUNETR": (
        (32, 96),
        1,
        {"feature_size": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4)},
    ),
}

NEEDED = {"SwinUNETR": ("einops",)}


def differences(network: Any, size: tuple[int, int], folder: Path) -> tuple[float, float]:
    """Of probabilities: ONNX Runtime from torch, and `native` from torch."""
    import torch
    from torch import nn

    from edgeseg.models.logits import LogitsNetwork
    from edgeseg.reference.onnx_export import onnx_from_torch

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)  # else masks hardly depend on the image
    wrapped = LogitsNetwork(network).eval()
    image = np.random.default_rng(2).normal(0, 1, (1, 3, *size)).astype(np.float32)
    with torch.inference_mode():
        channels = wrapped(torch.from_numpy(image)).shape[1]
    classes = tuple(f"class {number}" for number in range(max(2, channels)))
    inputs, outputs = InputContract(*size, 1, MinMax()), OutputContract(classes, channels)
    path = folder / ONNX_NAME
    onnx_from_torch(wrapped, inputs, outputs, path)
    wanted = torch_predictor(wrapped)(image)
    assert wanted.std() > 0.01
    rounded = onnx_predictor(path, outputs, inputs)(image)
    given = RUNTIME.load(RUNTIME.compile(path, folder / "made", "fp32")).run(image)
    assert given.shape == wanted.shape
    return float(np.abs(rounded - wanted).max()), float(np.abs(given - wanted).max())


def check(network: Any, size: tuple[int, int], folder: Path) -> None:
    usual, ours = differences(network, size, folder)
    assert ours < (1e-5 if usual <= EQUAL else 10 * usual), (usual, ours)


@needs("monai")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs(*NEEDED.get(name, ()))) for name in NETWORKS],
)
def test_networks_of_monai_are_computed_as_torch_does(name: str, tmp_path: Path) -> None:
    import torch
    from monai.networks import nets

    size, channels, arguments = NETWORKS[name]
    torch.manual_seed(1)
    network = getattr(nets, name.strip())(**TWO, out_channels=channels, **arguments)
    check(network, size, tmp_path)


def parts() -> dict[str, Callable[[Any], Any]]:
    """What is put between convolutions: from 12 channels to 12."""
    import torch
    from torch.nn import functional as F

    def pooled(image: Any, **settings: Any) -> Any:
        small = F.max_pool2d(image, 3, 2, ceil_mode=True, **settings)
        return F.interpolate(small, size=image.shape[2:], mode="bilinear", align_corners=False)

    def averaged(image: Any, **settings: Any) -> Any:
        small = F.avg_pool2d(image, 3, 2, 1, ceil_mode=True, **settings)
        return F.interpolate(small, size=image.shape[2:], mode="nearest")

    def channel_attention(image: Any) -> Any:
        rows = image.flatten(2)
        energy = rows @ rows.transpose(1, 2) / rows.shape[2]
        energy = energy.max(-1, keepdim=True)[0] - energy
        return (torch.softmax(energy, -1) @ rows).view(image.shape)

    def shuffled(image: Any) -> Any:
        _, channels, height, width = image.shape
        groups = image.view(1, 3, channels // 3, height, width).transpose(1, 2)
        return groups.reshape(image.shape)

    def pixels_shuffled(image: Any) -> Any:
        larger = F.pixel_shuffle(image, 2)
        return F.pixel_unshuffle(F.leaky_relu(larger, 0.2), 2)

    def einsum(image: Any) -> Any:
        alike = torch.einsum("bchw,bdhw->bcd", image, image) / 500
        return torch.einsum("bchw,bcd->bdhw", image, torch.softmax(alike, 1))

    def spatial_gate(image: Any) -> Any:
        both = [image.mean(1, keepdim=True), image.amax(1, keepdim=True)]
        return image * torch.sigmoid(torch.cat(both, 1).sum(1, keepdim=True))

    return {
        "pools, ceiling": pooled,
        "pools, ceiling and padding": lambda image: pooled(image, padding=1),
        "means, ceiling": averaged,
        "means, ceiling, without padding": lambda image: averaged(image, count_include_pad=False),
        "reflection": lambda image: F.avg_pool2d(F.pad(image, (1,) * 4, mode="reflect"), 3, 1),
        "replication": lambda image: F.max_pool2d(F.pad(image, (1,) * 4, mode="replicate"), 3, 1),
        "circular": lambda image: F.avg_pool2d(F.pad(image, (1,) * 4, mode="circular"), 3, 1),
        "channel attention": channel_attention,
        "channels shuffled": shuffled,
        "pixels shuffled": pixels_shuffled,
        "spatial gate": spatial_gate,
        "bicubic": lambda image: F.interpolate(
            F.interpolate(image, size=(9, 20), mode="bicubic"), size=image.shape[2:]
        ),
        "nearest-exact": lambda image: F.interpolate(
            F.avg_pool2d(image, 3, 2), size=image.shape[2:], mode="nearest-exact"
        ),
        "pyramid": lambda image: F.interpolate(
            F.adaptive_avg_pool2d(image, (3, 2)), size=image.shape[2:], mode="bilinear"
        ),
        "where": lambda image: torch.where(image > 0, image, -0.3 * image.mean(1, keepdim=True)),
        "masked": lambda image: image.masked_fill(image < -0.5, -1) + (image >= 1).float(),
        "normalised": lambda image: 3 * F.normalize(image, dim=1),
        "response": lambda image: F.local_response_norm(image, 3, alpha=0.5),
        "soft maximum": lambda image: image - torch.logsumexp(image, 1, keepdim=True),
        "einsum": einsum,
        "activations": lambda image: F.selu(image) + F.celu(image, 0.5) + F.hardtanh(image),
        "shrunk": lambda image: F.softshrink(image) + F.hardshrink(image) + F.tanhshrink(image),
        "gated": lambda image: torch.cat([F.glu(image, 1)] * 2, 1),
        "standardised": lambda image: (
            (image - image.mean((2, 3), keepdim=True)) / (image.std((2, 3), keepdim=True) + 0.1)
        ),
        "turned": lambda image: image.flip(3) + torch.roll(image, 3, 2),
        "least": lambda image: torch.minimum(image, image.amin((2, 3), keepdim=True) + 1),
        "steps": lambda image: image + torch.round(image * 3) / 8 + torch.floor(image),
    }


def newcomer_network() -> Any:
    """The parts side by side, and the layers around them."""
    import torch
    from torch import nn

    class Squeeze(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.gate = nn.Sequential(
                nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels), nn.Sigmoid()
            )

        def forward(self, image: Any) -> Any:
            gates = self.gate(self.pool(image).flatten(1))
            return image * gates.view(1, -1, 1, 1).expand_as(image)

    class Residual(nn.Module):
        def __init__(self, channels: int, dilation: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation),
                nn.InstanceNorm2d(channels, affine=True),
                nn.LeakyReLU(0.1),
                nn.Dropout2d(0.3),
                Squeeze(channels),
            )

        def forward(self, image: Any) -> Any:
            return image + self.body(image)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.PReLU()
            )
            self.parts = parts()
            self.merge = nn.Conv2d(12 * len(self.parts), 12, 1)
            self.down = nn.Sequential(nn.MaxPool2d(2), Residual(12, 1), Residual(12, 4))
            self.up = nn.ConvTranspose2d(12, 12, 3, 2, padding=1, dilation=1, output_padding=1)
            self.dilated = nn.ConvTranspose2d(12, 12, 3, padding=2, dilation=2, groups=3)
            self.smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.head = nn.Conv2d(24, 1, 3, padding=1, padding_mode="reflect")
            self.second = nn.Conv2d(12, 1, 1)

        def forward(self, image: Any) -> tuple[Any, Any]:
            stem = self.stem(image)
            merged = self.merge(torch.cat([part(stem) for part in self.parts.values()], 1))
            low = self.down(merged / 8)
            high = torch.cat([self.dilated(self.up(low)), self.smooth(low)], 1)
            return self.head(high), self.second(low)

    return Network()


def test_parts_that_newcomers_write_are_computed_as_torch_does(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(4)
    check(newcomer_network(), (34, 22), tmp_path)
