"""The EfficientNet U-Net: what it is, how it is trained, which layers a distillation compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...contract import InputContract, MeanStd, OutputContract
from ...lazy import attributes_on_demand
from ..backbones.statistics import EFFICIENTNET_MEAN, EFFICIENTNET_STD
from ..recipe import Recipe
from ..spec import ModelSpec

if TYPE_CHECKING:
    from .network import EfficientUnet as EfficientUnet
else:
    __getattr__ = attributes_on_demand(__name__, EfficientUnet="network")

RECIPES = {
    "short": Recipe(
        "short",
        loss="bce_dice",
        epochs=20,
        learning_rate=2e-3,
        backbone="encoder",
        backbone_rate=0.3,
        schedule="one_cycle",
        scales=(0.75, 1.0, 1.25),
        rotation="quarter",
        precision="bf16-mixed",
        channels_last=True,
    ),
}
TAPS = (
    "encoder._blocks.2",
    "encoder._blocks.10",
    "encoder._blocks.15",
    "decoder.0",
    "decoder.2",
)
SPEC = ModelSpec(
    name="efficientunet",
    import_path="edgeseg.models.efficient_unet:EfficientUnet",
    title="U-Net on EfficientNet-Lite0, a teacher where labels are few",
    source="Tan and Le, ICML 2019, arXiv:1905.11946; Ronneberger et al., MICCAI 2015, "
    "arXiv:1505.04597",
    parameters=3_825_121,
    macs=1_471_363_072,
    inputs=InputContract(256, 256, 32, MeanStd(EFFICIENTNET_MEAN, EFFICIENTNET_STD)),
    outputs=OutputContract(("background", "foreground"), 1),
    weights=None,
    recipes=RECIPES,
    taps=TAPS,
)
