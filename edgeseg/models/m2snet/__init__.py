"""M2SNet: what it is; recipes, metrics and compared layers are those of MSNet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...lazy import attributes_on_demand
from .. import msnet

if TYPE_CHECKING:
    from .network import M2SNet as M2SNet
else:
    __getattr__ = attributes_on_demand(__name__, M2SNet="network")

SPEC = replace(
    msnet.SPEC,
    name="m2snet",
    import_path="edgeseg.models.m2snet:M2SNet",
    title="M2SNet, polyps, CT, ultrasound, OCT",
    source="Zhao et al., arXiv:2303.10894",
    parameters=29_741_585,
)
