"""The networks that edgeseg knows; other packages add theirs by entry point.

Each place is a `ModelSpec`, stated in a module that does not import torch.
"""

from __future__ import annotations

from ..registry import Registry

MODELS = Registry(
    "model",
    {
        "egeunet": "edgeseg.models.egeunet:SPEC",
        "egeunet-twin-relu": "edgeseg.models.egeunet:EDGE_SPEC",
        "ulite": "edgeseg.models.ulite:SPEC",
        "ulite-twin-relu": "edgeseg.models.ulite:EDGE_SPEC",
        "miniseg": "edgeseg.models.miniseg:SPEC",
        "miniseg-twin-relu": "edgeseg.models.miniseg:EDGE_SPEC",
        "msnet": "edgeseg.models.msnet:SPEC",
        "m2snet": "edgeseg.models.m2snet:SPEC",
        "efficientunet": "edgeseg.models.efficient_unet:SPEC",
    },
    "edgeseg.models",
)
