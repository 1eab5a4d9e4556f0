"""U-Lite: what it is, how it is trained, which layers a distillation compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...contract import InputContract, MeanStd, OutputContract
from ...lazy import attributes_on_demand
from ...metrics.scores import MetricSet
from ..recipe import Recipe
from ..spec import ModelSpec, ShippedWeights
from ..variants import describe_variant

if TYPE_CHECKING:
    from .network import ULite as ULite
else:
    __getattr__ = attributes_on_demand(__name__, ULite="network")

RECIPES = {
    # arXiv:2306.16103
    "published": Recipe(
        "published",
        loss="batch_dice",
        epochs=200,
        optimizer="adam",
        learning_rate=2e-3,
        weight_decay=0.0,
        schedule="plateau",
        rotation="none",
    ),
    "short": Recipe(
        "short",
        loss="bce_dice",
        epochs=20,
        learning_rate=2e-3,
        schedule="one_cycle",
        rotation="quarter",
        precision="bf16-mixed",
        channels_last=True,
    ),
}
TAPS = ("e2", "e4", "b5", "d4", "d2")
SPEC = ModelSpec(
    name="ulite",
    import_path="edgeseg.models.ulite:ULite",
    title="U-Lite, skin lesions, cells, CT",
    source="Dinh et al., APSIPA 2023, arXiv:2306.16103",
    parameters=878_417,
    macs=736_509_952,
    inputs=InputContract(256, 256, 32, MeanStd()),
    outputs=OutputContract(("background", "lesion"), 1),
    weights=ShippedWeights("ulite_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
    paper_metrics=MetricSet(("soft_dice_image", "iou_image")),
    recipes=RECIPES,
    taps=TAPS,
)
# Registered too, since its weights are shipped; it takes smaller images.
EDGE_SPEC = describe_variant(
    SPEC,
    "-twin-relu",
    parameters=876_497,
    macs=343_507_968,
    weights=ShippedWeights("ulite_twin_relu_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
).at_size(192, 192)
