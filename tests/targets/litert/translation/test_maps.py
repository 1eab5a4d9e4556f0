from __future__ import annotations

from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def behind(*layers: Any) -> Any:
    """Layers after a convolution to eight channels."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 1), *layers)


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1, "groups": 4},
        {"padding": 2, "dilation": 2, "groups": 8},
        {"stride": 2, "padding": (2, 0), "dilation": (2, 1)},
        {"stride": (1, 2), "padding": 1, "groups": 8},
        {"padding": "same", "bias": False, "padding_mode": "circular"},
    ],
    ids=str,
)
def test_convolutions(settings: dict[str, Any]) -> None:
    from torch import nn

    check(behind(nn.Conv2d(8, 16, 3, **settings)))


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 8, "bias": False},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 4},
        {"kernel_size": 3, "stride": 1, "padding": 2, "dilation": 2},
        {"kernel_size": (2, 3), "stride": (3, 2), "output_padding": (2, 0), "dilation": (1, 2)},
        {"kernel_size": 2, "stride": 3, "padding": 1, "output_padding": 2, "groups": 2},
        {"kernel_size": 1, "stride": 2, "padding": 2, "groups": 8},
    ],
    ids=str,
)
def test_transposed_convolutions(settings: dict[str, Any]) -> None:
    from torch import nn

    check(behind(nn.ConvTranspose2d(8, 16, **settings)))


def test_grouped_transposed_convolutions_keep_their_number_of_weights() -> None:
    from torch import nn

    kinds = check(behind(nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8)))
    assert kinds["TRANSPOSE_CONV"] == 0
    assert kinds["DEPTHWISE_CONV_2D"] == 1


def test_lines_and_weights_that_depend_on_the_image() -> None:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Conv1d(3, 4, 5, 2, 2)
            self.kernels = nn.Parameter(torch.randn(4, 4, 3, 3))

        def forward(self, x: Any) -> Any:
            lines = self.line(x.flatten(2)).reshape(1, 4, -1, 8)
            return F.conv2d(lines, self.kernels * x.mean().sigmoid(), padding=1)

    check(Network())
