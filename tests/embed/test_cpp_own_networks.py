"""C++ projects of networks that users bring: three classes, one channel, pictures of 16 bits."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cpp_projects import SAMPLE, build_small, masks
from PIL import Image
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.embed.cpp import CppSurface, build, run_golden
from edgeseg.embed.surface import Kit
from edgeseg.embed.writer import write_kit

INSTALL = "tests/install_debian_packages.sh"
NETWORK = """
import torch
from torch import nn

class ThreeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, x):
        return self.body(x)
"""
SPEC = """
title = "Three classes"
classes = ["background", "disc", "cup"]
channels = 3
returns = "logits"
height = 48
width = 64
stride = 1

[normalization]
kind = "mean_std"
mean = [0.5, 0.4, 0.3]
std = [0.25, 0.3, 0.2]
"""


@pytest.fixture(autouse=True)
def _tools() -> None:
    for program in ("cmake", "g++"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: {INSTALL}")


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "openvino")
@pytest.mark.parametrize("runtime", ["openvino", "native"])
def test_a_network_of_three_classes(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "three_net.py").write_text(NETWORK)
    (tmp_path / "three.toml").write_text(SPEC)
    torch.manual_seed(3)
    network = runpy.run_path(str(tmp_path / "three_net.py"))["ThreeNet"]()
    torch.save(network.state_dict(), tmp_path / "three.pth")
    bundle = build_small(
        runtime,
        tmp_path / "bundle",
        model="three_net:ThreeNet",
        spec=tmp_path / "three.toml",
        weights=tmp_path / "three.pth",
        size=None,
    )
    written = write_kit(Kit(open_bundle(bundle)), CppSurface(), tmp_path / "kit", check=False)
    assert "// mask.labels[y * width + x]: 0 background, 1 disc, 2 cup" in (
        written.folder / "README.md"
    ).read_text(encoding="utf-8")
    build(tmp_path / "kit", tmp_path / "made")
    places = bundle, tmp_path / "kit", tmp_path / "made"
    seen: set[int] = set()
    for image in sorted(SAMPLE.glob("*.jpg"))[:3]:
        given, wanted = masks(*places, image, tmp_path)
        assert (given != wanted).sum() == 0
        seen |= set(np.unique(wanted).tolist())
    assert len(seen) > 1
    # The golden mask is of half precision, and drawn weights give classes that are nearly equal.
    assert run_golden(tmp_path / "kit", tmp_path / "made" / "golden_test", "here").was_run


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
def test_the_golden_image_may_have_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "deep_net.py").write_text(
        NETWORK.replace("ThreeNet", "DeepNet").replace("Conv2d(3, 8", "Conv2d(1, 8")
    )
    spec = SPEC.replace("stride = 1", "stride = 1\ninput_channels = 1\nwhite = 4095")
    spec = spec.replace("[0.5, 0.4, 0.3]", "[0.5]").replace("[0.25, 0.3, 0.2]", "[0.25]")
    (tmp_path / "deep.toml").write_text(spec)
    torch.manual_seed(3)
    network = runpy.run_path(str(tmp_path / "deep_net.py"))["DeepNet"]()
    with torch.no_grad():
        network.body[2].weight.mul_(40)  # few pixels lie between classes
    torch.save(network.state_dict(), tmp_path / "deep.pth")
    write_deep_data(tmp_path / "data")
    bundle = build_small(
        "native",
        tmp_path / "bundle",
        model="deep_net:DeepNet",
        spec=tmp_path / "deep.toml",
        weights=tmp_path / "deep.pth",
        data=tmp_path / "data",
        size=None,
    )
    kit = Kit(open_bundle(bundle))
    assert kit.bundle.golden_pair()[0].dtype == np.uint16
    assert write_kit(kit, CppSurface(), tmp_path / "kit").parity.was_run
    record = json.loads((tmp_path / "kit" / "golden" / "golden.json").read_text())
    assert record["image"]["bits"] == 16


def write_deep_data(folder: Path) -> None:
    """Six grey pictures of 12 bits and their masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(6):
        draw = np.random.default_rng(index)
        labels = np.kron(draw.integers(0, 3, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
        pixels = (1200 * labels.astype(int) + draw.integers(0, 300, labels.shape)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / "images" / f"p{index}.png")
        Image.fromarray(labels).save(folder / "masks" / f"p{index}.png")
    for split, names in (("train", (0, 1, 2)), ("val", (3, 4)), ("test", (5,))):
        (folder / f"{split}.txt").write_text("\n".join(f"p{index}" for index in names))
