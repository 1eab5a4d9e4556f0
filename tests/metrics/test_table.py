"""Every metric states itself, and documents and help say what the table says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from subprocess import CompletedProcess
from typing import Any

import pytest
from support import ROOT

from edgeseg.errors import EdgesegError, UnknownNameError
from edgeseg.metrics.metric import Metric
from edgeseg.metrics.overlap import DICE_POOLED
from edgeseg.metrics.saliency import MAE
from edgeseg.metrics.table import METRICS, all_metrics, find_metric, metrics_of_label_maps

RunCli = Callable[..., "CompletedProcess[str]"]


def document_rows() -> list[str]:
    """Rows of the table in docs/measuring.md that the metrics ask for."""
    rows = []
    for metric in all_metrics():
        shown = {"": "no", "record": "JSON", "line": "below the table", "column": "column"}
        kind = "share" if metric.is_change_relative else "difference"
        limit = "" if metric.allowed_change is None else f"{kind} of {metric.allowed_change:g}"
        if metric.option:
            limit += f", `{metric.option}`"
        cells = [
            f"`{metric.name}`", metric.definition, metric.source, metric.better,
            "needs probabilities" if metric.needs_probabilities else shown[metric.bench], limit,
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return rows


def test_the_document_has_the_table() -> None:
    document = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| `[a-z0-9_]+` \| .*$", document, re.MULTILINE)
    there = [row for row in written if row.split("`")[1] in METRICS]
    assert there == document_rows(), "write these rows:\n" + "\n".join(document_rows())


@pytest.mark.parametrize("command", ["evaluate", "build"])
def test_help_lists_the_metrics(run_cli: RunCli, command: str) -> None:
    done = run_cli(command, "--help")
    assert done.returncode == 0
    listed = re.findall(r"^ ?([a-z0-9_]+)  +\S", done.stdout, re.MULTILINE)
    expected = [
        metric.name
        for metric in all_metrics()
        if command == "evaluate" or not metric.needs_probabilities
    ]
    assert listed[-len(expected) :] == expected
    if command == "build":
        text = " ".join(done.stdout.split())
        assert "(default 0.005, also --max-dice-drop)" in text
        assert "share of the FP32 reference's HD95 (default 0.02, also --max-hd95-growth)" in text


def test_every_metric_says_what_it_is_and_whose() -> None:
    for metric in all_metrics():
        assert metric.title, metric.name
        assert metric.definition, metric.name
        assert metric.source, metric.name


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"from_counts": None}, "State from_counts or from_image"),
        ({"from_image": len}, "State from_counts or from_image"),
        ({"from_counts": None, "from_image": len}, "State it, or leave is_pooled out"),
        ({"needs_probabilities": True}, "Leave bench and allowed_change out"),
    ],
)
def test_a_metric_that_contradicts_itself_is_refused(changes: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        replace(DICE_POOLED, **changes)


def test_changes_and_losses_by_hand() -> None:
    dice, hd95 = find_metric("dice_pooled"), find_metric("hd95_px")
    assert dice.change(0.89, 0.9) == pytest.approx(-0.01)
    assert dice.loss(-0.01) == 0.01
    assert hd95.change(12.0, 10.0) == pytest.approx(0.2)
    assert hd95.loss(0.2) == 0.2
    assert hd95.change(1.0, 0.0) is None
    assert (dice.format_change(-0.00123), dice.format_limit(0.005)) == ("-0.0012", "0.005")
    assert (hd95.format_change(0.0123), hd95.format_limit(0.02)) == ("+1.23%", "2%")
    distance = replace(hd95, is_change_relative=False)
    assert (distance.format_change(1.5), distance.format_limit(2.0)) == ("+1.50 px", "2 px")


def test_label_maps_are_scored_by_what_applies() -> None:
    def names(class_count: int) -> set[str]:
        return {metric.name for metric in metrics_of_label_maps(class_count, lambda one: True)}

    assert "mae" not in names(2)
    assert {"dice_pooled", "accuracy"} <= names(3)
    assert not {"weighted_f", "s_measure"} & names(3)


@pytest.mark.parametrize("place", ["math:pi", "edgeseg.metrics.overlap:DICE_IMAGE"])
def test_what_is_no_metric_of_that_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(METRICS, "_places", {**METRICS.places(), "tversky": place})
    with pytest.raises(EdgesegError, match="Update or uninstall the package that brought it"):
        find_metric("tversky")


def test_an_unknown_metric_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean hd95_px\?"):
        find_metric("hd95")


def test_a_metric_is_plain_data() -> None:
    assert isinstance(MAE, Metric)
    assert MAE.better == "lower"
