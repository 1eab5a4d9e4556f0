"""What hostile inputs are made from: small sound bundles, built once.

python material.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

NETWORK = """
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image):
        return self.head(self.body(image))
"""
SPEC = """
title = "A network of two layers"
classes = ["background", "disc"]
channels = 1
returns = "logits"
height = 16
width = 24
stride = 8

[normalization]
kind = "mean_std"
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]

[arguments]
width = 4
"""
PRECISIONS = {"fp32": None, "int8": "min-max"}


def write_data(folder: Path) -> None:
    """Twelve pictures of bright discs, with their masks."""
    from PIL import Image

    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :48]
    for number in range(12):
        row, column = draw.integers(8, 24), draw.integers(10, 38)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < 60
        picture = draw.integers(0, 90, (32, 48, 3)) + disc[..., None] * 150
        Image.fromarray(picture.astype(np.uint8)).save(folder / "images" / f"p{number}.png")
        Image.fromarray((disc * 255).astype(np.uint8)).save(folder / "masks" / f"p{number}.png")
    for split, names in (("train", range(8)), ("val", range(8, 10)), ("test", range(10, 12))):
        (folder / f"{split}.txt").write_text("\n".join(f"p{number}" for number in names))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    import os

    os.environ["EDGESEG_CACHE_DIR"] = str(folder / "cache")
    os.chdir(folder)
    import torch

    from edgeseg.models import find_model
    from edgeseg.models.weights import save_weights
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    (folder / "hostile_net.py").write_text(NETWORK)
    (folder / "spec.toml").write_text(SPEC)
    write_data(folder / "data")
    torch.manual_seed(3)
    network = find_model("hostile_net:Net", folder / "spec.toml").make_network()
    save_weights(folder / "weights.safetensors", network)
    for precision, method in PRECISIONS.items():
        request = BuildRequest(
            "hostile_net:Net",
            "onnxruntime",
            precision,
            folder / precision,
            method=method,
            weights=folder / "weights.safetensors",
            spec=folder / "spec.toml",
            data=folder / "data",
        )
        build_bundle(request)


if __name__ == "__main__":
    main()
