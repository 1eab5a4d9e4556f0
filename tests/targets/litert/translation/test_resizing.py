from __future__ import annotations

from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_factor": 1.5, "mode": "bilinear"},
        {"scale_factor": 1.7, "mode": "bilinear"},  # not the quotient of the sizes
        {"size": (7, 21), "mode": "bilinear", "align_corners": True},
        {"size": (1, 33), "mode": "bilinear"},
        {"scale_factor": 1.5, "mode": "nearest-exact"},
        {"scale_factor": 2, "mode": "nearest-exact"},
        {"size": (17, 5), "mode": "nearest"},
        {"scale_factor": 3, "mode": "nearest"},
        {"size": (21, 27), "mode": "bicubic"},
        {"size": (5, 9), "mode": "bicubic", "align_corners": True},
        {"size": (5, 7), "mode": "bilinear", "antialias": True},
        {"size": (5, 7), "mode": "area"},
    ],
    ids=str,
)
def test_values_are_those_of_torch(settings: dict[str, Any]) -> None:
    from torch.nn import functional as F

    check(lambda x: F.interpolate(x, **settings))


def test_lines_are_resized() -> None:
    from torch.nn import functional as F

    check(lambda x: F.interpolate(x.flatten(2), scale_factor=1.5, mode="linear")[..., None])


@pytest.mark.parametrize(
    ("mode", "kind"), [("bilinear", "RESIZE_BILINEAR"), ("nearest", "RESIZE_NEAREST_NEIGHBOR")]
)
def test_the_built_in_operator_is_taken_where_it_is_right(mode: str, kind: str) -> None:
    from torch.nn import functional as F

    assert check(lambda x: F.interpolate(x, scale_factor=2, mode=mode)) == {kind: 1}
