"""Options that name metrics, and help that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeseg.errors import EdgesegError, UsageError

from .captured_output import CapturedCommand
from .console import parse_options

if TYPE_CHECKING:
    from edgeseg.metrics.metric import Metric


SHORT_NAMES = {"dice": "dice_pooled", "hd95": "hd95_px", "iou": "iou_pooled"}


def parse_max_change(
    words: Sequence[str], by_option: Mapping[str, float | None]
) -> dict[str, float]:
    """Allowed changes by metric, from "METRIC=VALUE" words and from options for one metric.

    Args:
        by_option: Values of options such as --max-dice-drop, by metric; None was not given.

    Raises:
        UnknownNameError: There is no such metric.
        UsageError: A word of another form, no number, or a metric that is named twice.
    """
    from edgeseg.metrics.metric import MAX_CHANGE
    from edgeseg.metrics.quantities import find_limited

    allowed = {name: value for name, value in by_option.items() if value is not None}
    for word, text in parse_options(words, MAX_CHANGE).items():
        name = SHORT_NAMES.get(word, word)
        metric = find_limited(name)
        if name in allowed:
            raise UsageError(
                f"{MAX_CHANGE} {name} and {metric.limit_option} limit the same metric. Give one of "
                "them."
            )
        value = parse_number(text)
        if value is None:
            raise UsageError(
                f"{MAX_CHANGE} {name}={text} is no number. Write {MAX_CHANGE} {name}=0.01."
            )
        allowed[name] = value
    return allowed


def parse_number(text: str) -> float | None:
    """A number, or a share in percent; None where it is neither."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None


class _ListingCommand(CapturedCommand):
    """A command whose help ends with a list of metrics. It is made when the help is asked for:
    metrics load numpy and what other packages add."""

    title = ""

    @staticmethod
    def describe(metric: Metric) -> str:
        """What the list says of a metric; nothing leaves it out."""
        raise NotImplementedError

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        from rich.console import Console
        from rich.table import Table

        from edgeseg.metrics.table import all_metrics

        table = Table.grid(padding=(0, 2, 0, 1))
        console = Console(highlight=False, markup=False, emoji=False)
        try:
            for metric in all_metrics():
                if self.describe(metric):
                    table.add_row(metric.name, self.describe(metric))
        except EdgesegError as error:
            # A package that adds metrics is broken; the help of the command is still worth reading.
            console.print(str(error))
        console.print(f" {self.title}")
        console.print(table)


class ScoringCommand(_ListingCommand):
    """Its help lists all metrics."""

    title = "Metrics of --metrics all:"

    @staticmethod
    def describe(metric: Metric) -> str:
        return metric.definition


class TuningCommand(_ListingCommand):
    """Its help lists the metrics that --max-change takes."""

    title = "Metrics of --max-change, and how much of each auto may lose:"

    @staticmethod
    def describe(metric: Metric) -> str:
        if metric.needs_probabilities:
            return ""
        unit = f" in {metric.unit}" if metric.unit else ""
        kind = (
            f"share of the FP32 reference's {metric.title}"
            if metric.is_change_relative
            else f"difference of {metric.title}{unit}"
        )
        default = metric.allowed_change
        limit = "not limited" if default is None else f"default {default:g}"
        also = f", also {metric.option}" if metric.option else ""
        return f"{kind} ({limit}{also})"
