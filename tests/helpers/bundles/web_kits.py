"""Web kits and a browser to try them in."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import INSTALL_SCRIPT, UNTESTED

from edgeseg.embed.browser import find_browser
from edgeseg.embed.npm import Package, find_package
from edgeseg.errors import EdgesegError

LIMIT_MS = 20_000  # of one step in a page, beside other work
CLASSES = ("background", "disc", "centre")
COLORS = np.array([(200, 190, 180), (120, 60, 40), (30, 120, 40)])
PLACE = "coloured.nets:ByColour"
MODULE = """
import torch
from torch import nn

class ByColour(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 1)
        shares = torch.tensor([[1.0, 1, 1], [2, -1, -1], [-1, 2, -1]])
        with torch.no_grad():
            self.body.weight.copy_(shares[:, :, None, None])
            self.body.bias.zero_()

    def forward(self, x):
        return self.body(x)
"""
SPEC = """
title = "Classes by their colour"
classes = ["background", "disc", "centre"]
channels = 3
returns = "logits"
height = 96
width = 96
stride = 1

[normalization]
kind = "mean_std"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
AXE = Package(
    "axe-core",
    "4.14.1",
    {"axe.min.js": "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"},
)


def draw_discs(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], Any]:
    """A picture with two nested discs, and their labels."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - height / 2, columns - width / 2) / min(height, width)
    labels = (distance < 0.4).astype(np.uint8) + (distance < 0.2)
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    return (COLORS[labels] + noise).clip(0, 255).astype(np.uint8), labels


def build_coloured_bundle(folder: Path, *, is_other: bool = False) -> None:
    """Make folder/bundle, for browsers, of a user's own network: three classes by their colour.

    Args:
        is_other: Make one of the same shape whose classes are called otherwise, and whose weights
            exchange them.
    """
    import torch

    from edgeseg.models import find_model
    from edgeseg.models.weights import save_weights
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    (folder / "coloured").mkdir(parents=True)
    (folder / "coloured" / "nets.py").write_text(MODULE)
    spec = folder / "coloured.toml"
    names = '"spot", "core"' if is_other else '"disc", "centre"'
    spec.write_text(SPEC.replace('"disc", "centre"', names))
    data = folder / "data"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    for index in range(6):
        image, labels = draw_discs(90, 120, index)
        Image.fromarray(image).save(data / "images" / f"{index}.png")
        Image.fromarray(labels).save(data / "masks" / f"{index}.png")
    for split, names in (("train", "0\n1"), ("val", "2\n3"), ("test", "4\n5")):
        (data / f"{split}.txt").write_text(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        weights = folder / "coloured.safetensors"
        network: Any = find_model(PLACE, spec).make_network()
        if is_other:
            (weight,) = (one for one in network.parameters() if one.ndim == 4)
            with torch.no_grad():
                weight.copy_(weight[[0, 2, 1]].clone())
        save_weights(weights, network)
        request = BuildRequest(
            PLACE, "web", "fp32", folder / "bundle", spec=spec, weights=weights, data=data
        )
        build_bundle(request)


def require_browser() -> str:
    """Path of Chromium; skips, and says so at the end, where there is none."""
    browser = find_browser()
    if browser is None:
        UNTESTED.add(f"pages in a browser (run {INSTALL_SCRIPT})")
        pytest.skip(f"no Chromium; run {INSTALL_SCRIPT}")
    pytest.importorskip("playwright")
    return browser


def require_package(package: Package) -> Path:
    """Folder of a package of npm; skips where it cannot be fetched."""
    try:
        return find_package(package, None)
    except EdgesegError as error:
        UNTESTED.add(f"npm's {package}")
        pytest.skip(str(error))


def png_of(image: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def give(page: Any, name: str, content: bytes, kind: str = "image/png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def give_disc(page: Any, height: int = 90, width: int = 120) -> NDArray[np.uint8]:
    """Give a picture and wait for its mask."""
    image, _ = draw_discs(height, width)
    give(page, "disc.png", png_of(image))
    from playwright.sync_api import expect

    expect(page.locator("#photo")).to_have_attribute(
        "aria-label", f"disc.png, {width} by {height} pixels"
    )
    return image
