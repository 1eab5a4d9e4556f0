"""edgeseg evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal.console import make_progress, parse_size, print_json, print_result
from .terminal.metric_options import parse_max_change
from .terminal.options import AsJson, Data, Model, Size, Spec, Split, Weights

if TYPE_CHECKING:
    from ..pipeline.evaluate import EvaluateRequest

GROUP_METRIC = "dice_pooled"


def evaluate(
    model: Model,
    weights: Weights = None,
    spec: Spec = None,
    data: Data = None,
    split: Split = None,
    size: Size = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Set of metrics: paper (those of the model's paper) or all (see the list below)."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Network of edgeseg models to compare with.")
    ] = None,
    against_weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of --against (default: the shipped weights).")
    ] = None,
    against_size: Annotated[
        str | None, typer.Option(help="Input size of --against, HxW (default: --size).")
    ] = None,
    max_change: Annotated[
        list[str] | None,
        typer.Option(
            help="METRIC=VALUE, the largest loss of a metric against --against; the command ends "
            "with 1 where it is not kept; may be repeated."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score the FP32 reference on labelled images, with 95 % bootstrap intervals."""
    from ..metrics.limits import KEEPS
    from ..pipeline.evaluate import EvaluateRequest, evaluate_model

    request = EvaluateRequest(
        model=model,
        weights=weights,
        spec=spec,
        data=data,
        splits=tuple(split or ["test"]),
        size=parse_size(size),
        metrics=metrics,
        against=against,
        against_weights=against_weights,
        against_size=parse_size(against_size, "--against-size"),
        max_change=parse_max_change(max_change or [], {}),
    )
    scores = evaluate_model(request, make_progress())
    if as_json:
        print_json(scores)
    else:
        _print_record(request, scores)
    margins = scores.get("against", {}).get("margins", ())
    if any(margin["verdict"] != KEEPS for margin in margins):
        raise typer.Exit(1)


def _print_record(request: EvaluateRequest, scores: dict[str, Any]) -> None:
    from ..metrics.limits import MarginVerdict

    model = request.model
    print_result(f"{model} on {scores['images']} images of {scores['data']}, FP32 reference")
    if "clusters" in scores:
        clusters = scores["clusters"]
        print_result(f"{clusters['text']}.")
        print_result(f"Mean over {clusters['kind']}, each as a whole")
        _print_scores(clusters["accuracy"], clusters["accuracy_ci95"])
        print_result("Images")
    if request.metrics is not None:
        _print_metrics(scores["metrics"], scores["source"])
    else:
        _print_scores(scores["accuracy"], scores["accuracy_ci95"])
    _print_groups(scores.get("groups", {}))
    if request.against is not None:
        theirs = scores["against"]
        if "scored_at" in theirs:
            height, width = theirs["scored_at"]
            print_result(
                f"Inputs differ in size: masks of both are compared at {height}x{width}, to which "
                "the smaller are resized."
            )
        compared = theirs.get("metrics", theirs)
        print_result(f"{theirs['model']}, {theirs['weights']}")
        _print_scores(compared["accuracy"], compared["accuracy_ci95"])
        print_result(f"{model} minus {theirs['model']}, image by image")
        _print_scores(compared["difference"], compared["difference_ci95"], "+")
        for margin in theirs.get("margins", ()):
            print_result(f"{model} {MarginVerdict.from_json(margin).text}.")


def _print_groups(columns: dict[str, dict[str, Any]]) -> None:
    """Pooled Dice of each group, and how many images it has."""
    from ..metrics.table import find_metric

    form = find_metric(GROUP_METRIC).format_score
    for column, groups in columns.items():
        print_result(f"By {column}, pooled Dice")
        for name, part in groups.items():
            low, high = part["accuracy_ci95"][GROUP_METRIC]
            print_result(
                f"  {name:18} {form(part['accuracy'][GROUP_METRIC])}  ({form(low)}..{form(high)})  "
                f"{part['images']} image{'s' if part['images'] > 1 else ''}"
                f"{_belonging(part)}"
            )


def _belonging(part: dict[str, Any]) -> str:
    """Such as " of 3 volumes"; empty where images are independent."""
    from ..metrics.clusters import counted

    clusters = part.get("clusters")
    return f" of {counted(clusters['count'], clusters['kind'])}" if clusters else ""


def _print_scores(
    scores: dict[str, float], intervals: dict[str, tuple[float, float]], sign: str = ""
) -> None:
    from ..metrics.table import find_metric

    for name, score in scores.items():
        form = find_metric(name).format_score
        value, low, high = (form(number, sign) for number in (score, *intervals[name]))
        print_result(f"  {name:18} {value}  ({low}..{high})")


def _print_metrics(record: dict[str, Any], source: str) -> None:
    from ..metrics.table import find_metric

    print_result("All metrics" if record["set"] == "all" else f"Metrics of the paper ({source})")
    if record["stretches_maps"]:
        print_result("Each map is first stretched to 0..1 from its own minimum and maximum.")
    for name, score in record["scores"].items():
        form = find_metric(name).format_score
        value, low, high = (form(number) for number in (score["value"], *score["ci95"]))
        interval = f"({low}..{high})"
        meaning = f"{score['definition']} [{score['source']}]"
        print_result(f"  {name:18} {value:>7}  {interval:18}  {meaning}")
    empty = record["empty_images"]
    print_result(
        f"Images empty in the truth only: {empty['truth']}, in the prediction only: "
        f"{empty['prediction']}, in both: {empty['both']}. A ratio that has nothing to divide by "
        "is 1; a distance to nothing is the image's diagonal, from nothing to nothing 0."
    )
    if record["left_out"]:
        print_result(
            f"Left out, defined for one foreground class: {', '.join(record['left_out'])}."
        )
