from __future__ import annotations

from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_maps_are_looked_up_between_pixels_and_outside(padding: str, corners: bool) -> None:
    import torch
    from torch.nn import functional as F

    steps = torch.linspace(-1.2, 1.1, 12), torch.linspace(-1.1, 1.2, 16)
    grid = torch.stack(torch.meshgrid(*steps, indexing="ij")[::-1], -1)[None]

    def warped(x: Any) -> Any:
        moved = grid + 0.1 * torch.tanh(x[:, :2]).permute(0, 2, 3, 1)
        return F.grid_sample(x, moved, padding_mode=padding, align_corners=corners)

    check(warped)
