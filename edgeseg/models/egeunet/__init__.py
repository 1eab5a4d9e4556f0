"""EGE-UNet: what it is, how it is trained, which layers a distillation compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...contract import InputContract, MinMax, OutputContract
from ...lazy import attributes_on_demand
from ...metrics.scores import MetricSet
from ..recipe import Recipe
from ..spec import ModelSpec, ShippedWeights
from ..variants import describe_variant

if TYPE_CHECKING:
    from .network import EgeUnet as EgeUnet
else:
    __getattr__ = attributes_on_demand(__name__, EgeUnet="network")

RECIPES = {
    "published": Recipe("published"),
    "short": Recipe(
        "short",
        epochs=35,
        learning_rate=2e-3,
        schedule="one_cycle",
        rotation="quarter",
        channels_last=True,
    ),
}
TAPS = ("encoder3", "encoder5", "encoder6", "decoder3", "decoder5")
SPEC = ModelSpec(
    name="egeunet",
    import_path="edgeseg.models.egeunet:EgeUnet",
    title="EGE-UNet, skin lesions",
    source="Ruan et al., MICCAI 2023, arXiv:2307.08473",
    parameters=53_374,
    macs=72_096_256,
    inputs=InputContract(256, 256, 32, MinMax(0.0, 255.0)),
    outputs=OutputContract(("background", "lesion"), 1),
    weights=ShippedWeights("egeunet_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
    paper_metrics=MetricSet(
        ("iou_pooled", "dice_pooled", "accuracy", "specificity_pooled", "sensitivity_pooled")
    ),
    recipes=RECIPES,
    taps=TAPS,
)
# Registered too, since its weights are shipped.
EDGE_SPEC = describe_variant(
    SPEC,
    "-twin-relu",
    parameters=59_022,
    macs=90_823_168,
    weights=ShippedWeights("egeunet_twin_relu_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
)
