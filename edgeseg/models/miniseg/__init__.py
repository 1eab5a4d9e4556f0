"""MiniSeg: what it is and how it is trained; it names no layers for a distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...contract import InputContract, MeanStd, OutputContract
from ...lazy import attributes_on_demand
from ...metrics.scores import MetricSet
from ..recipe import Recipe
from ..spec import ModelSpec, ShippedWeights
from ..variants import describe_variant

if TYPE_CHECKING:
    from .network import MiniSeg as MiniSeg
else:
    __getattr__ = attributes_on_demand(__name__, MiniSeg="network")

# Over all pixels of the train list of covid_ct100. The network's published checkpoints were trained
# with the statistics of their own data.
CT100_MEAN = (0.5257, 0.5257, 0.5257)
CT100_STD = (0.3169, 0.3169, 0.3169)
RECIPES = {
    # arXiv:2004.09750; the scales are 768, 640, 384 and 512 of 512 pixels.
    "published": Recipe(
        "published",
        loss="deep_supervised_cross_entropy",
        epochs=80,
        batch_size=5,
        optimizer="adam",
        weight_decay=1e-4,
        schedule="poly",
        scales=(1.5, 1.25, 0.75, 1.0),
        rotation="none",
        channels_last=True,
    ),
}
SPEC = ModelSpec(
    name="miniseg",
    import_path="edgeseg.models.miniseg:MiniSeg",
    title="MiniSeg, COVID-19 infections in CT",
    source="Qiu et al., AAAI 2021, arXiv:2004.09750",
    parameters=82_912,
    macs=476_577_792,
    inputs=InputContract(512, 512, 16, MeanStd(CT100_MEAN, CT100_STD)),
    outputs=OutputContract(("background", "infection"), 2),
    weights=ShippedWeights("miniseg_ct100", "covid_ct100", "non-commercial"),
    paper_metrics=MetricSet(
        ("miou_pooled", "sensitivity_image", "specificity_image", "dice_image", "hd_px")
    ),
    recipes=RECIPES,
)
# Registered too, since its weights are shipped; it takes smaller images.
EDGE_SPEC = describe_variant(
    SPEC,
    "-twin-relu",
    parameters=81_448,
    macs=246_200_832,
    weights=ShippedWeights("miniseg_twin_relu_ct100", "covid_ct100", "non-commercial"),
).at_size(368, 368)
