"""Resizes beside torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from native_graphs import Branches
from support import needs

from edgeseg.targets import find_runtime

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxruntime")


def test_nearest_resizes_take_the_rows_that_torch_takes(tmp_path: Path) -> None:
    """Also where the size is no multiple; nothing behind the last row is read."""
    import torch
    from torch.nn import functional

    branches = Branches((3, 26, 31))
    sizes = [(54, 31), (26, 31), (71, 93), (13, 62), (107, 45)]
    for height, width in sizes:
        size = branches.constant([1, 3, height, width], np.int64)
        settings = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        made = branches.node("Resize", "image", "", "", size, mode="nearest", **settings)
        branches.end(made, f"{height} x {width}")
    path, image = branches.save(tmp_path / "net.onnx"), branches.image()
    image[0, 2, -1, -1] = np.inf  # a neighbour of nothing else
    runtime = find_runtime("native", {"isa": "here"})
    given = runtime.load(runtime.compile(path, tmp_path / "made", "fp32")).run(image)
    wanted = [functional.interpolate(torch.from_numpy(image), size=size) for size in sizes]
    assert np.array_equal(given.ravel(), torch.cat([one.ravel() for one in wanted]).numpy())
