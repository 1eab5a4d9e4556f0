"""The metrics that edgeseg knows: a line each.

A metric states itself in its own file, as `edgeseg.metrics.metric.Metric`. Evaluation, benchmarks,
the constraints of `--precision auto`, tables, help and documents read it from here. Another package
adds one by an entry point of the group `edgeseg.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import EdgesegError
from ..lazy import is_installed
from ..registry import Registry
from .metric import Metric

METRICS = Registry(
    "metric",
    {
        "dice_pooled": "edgeseg.metrics.overlap:DICE_POOLED",
        "dice_image": "edgeseg.metrics.overlap:DICE_IMAGE",
        "soft_dice_image": "edgeseg.metrics.overlap:SOFT_DICE_IMAGE",
        "iou_pooled": "edgeseg.metrics.overlap:IOU_POOLED",
        "iou_image": "edgeseg.metrics.overlap:IOU_IMAGE",
        "miou_pooled": "edgeseg.metrics.overlap:MIOU_POOLED",
        "accuracy": "edgeseg.metrics.overlap:ACCURACY",
        "sensitivity_pooled": "edgeseg.metrics.overlap:SENSITIVITY_POOLED",
        "sensitivity_image": "edgeseg.metrics.overlap:SENSITIVITY_IMAGE",
        "specificity_pooled": "edgeseg.metrics.overlap:SPECIFICITY_POOLED",
        "specificity_image": "edgeseg.metrics.overlap:SPECIFICITY_IMAGE",
        "hd_px": "edgeseg.metrics.hausdorff:HD_PX",
        "hd95_px": "edgeseg.metrics.hausdorff:HD95_PX",
        "weighted_f": "edgeseg.metrics.saliency:WEIGHTED_F",
        "s_measure": "edgeseg.metrics.saliency:S_MEASURE",
        "e_measure": "edgeseg.metrics.saliency:E_MEASURE",
        "mae": "edgeseg.metrics.saliency:MAE",
    },
    group="edgeseg.metrics",
)


def find_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UnknownNameError: Nobody registered it.
        EdgesegError: What another package registered is no metric of that name.
    """
    metric = METRICS.find(name)
    if not isinstance(metric, Metric) or metric.name != name:
        raise EdgesegError(
            f"The metric '{name}' is registered as {METRICS.places()[name]}, which is "
            f"{metric!r:.80} and no edgeseg.metrics.metric.Metric of that name. Update or "
            "uninstall the package that brought it."
        )
    return metric


def all_metrics() -> tuple[Metric, ...]:
    """Every metric, those of other packages last."""
    return tuple(find_metric(name) for name in METRICS.names())


def metrics_of_label_maps(
    class_count: int, is_wanted: Callable[[Metric], bool]
) -> tuple[Metric, ...]:
    """Those wanted ones that label maps of so many classes can be scored by on this machine.

    Args:
        class_count: Background included.
    """
    return tuple(
        metric
        for metric in all_metrics()
        if is_wanted(metric)
        and not metric.needs_probabilities
        and not (metric.is_binary and class_count > 2)
        and all(is_installed(name) for name in metric.packages)
    )
