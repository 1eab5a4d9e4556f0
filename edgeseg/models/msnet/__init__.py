"""MSNet: what it is, how it is trained, which layers a distillation compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...contract import InputContract, MeanStd, OutputContract
from ...lazy import attributes_on_demand
from ...metrics.scores import MetricSet
from ..backbones.statistics import IMAGENET_MEAN, IMAGENET_STD
from ..recipe import Recipe
from ..spec import ModelSpec

if TYPE_CHECKING:
    from .network import MsNet as MsNet
else:
    __getattr__ = attributes_on_demand(__name__, MsNet="network")

# MSNet's and M2SNet's published code stretches each map before it scores anything.
METRICS = MetricSet(
    ("soft_dice_image", "iou_image", "weighted_f", "s_measure", "e_measure", "mae"),
    stretches_maps=True,
)
# Of both networks: arXiv:2303.10894, and what two CPU cores can do, without VGG-16 in the loss.
RECIPES = {
    "published": Recipe(
        "published",
        loss="weighted_bce_iou_lossnet",
        epochs=50,
        batch_size=16,
        optimizer="sgd",
        learning_rate=0.05,
        weight_decay=5e-4,
        backbone="resnet",
        backbone_rate=0.1,
        schedule="triangle",
    ),
    "short": Recipe(
        "short",
        loss="weighted_bce_iou",
        epochs=12,
        schedule="one_cycle",
        rotation="quarter",
        precision="bf16-mixed",
        channels_last=True,
    ),
}
TAPS = ("resnet.layer1", "resnet.layer3", "resnet.layer4", "output3", "output1")
SPEC = ModelSpec(
    name="msnet",
    import_path="edgeseg.models.msnet:MsNet",
    title="MSNet, polyps",
    source="Zhao et al., MICCAI 2021, arXiv:2108.05082",
    parameters=29_741_329,
    macs=16_844_005_376,
    inputs=InputContract(352, 352, 32, MeanStd(IMAGENET_MEAN, IMAGENET_STD)),
    outputs=OutputContract(("background", "polyp"), 1),
    weights=None,
    paper_metrics=METRICS,
    recipes=RECIPES,
    taps=TAPS,
)
