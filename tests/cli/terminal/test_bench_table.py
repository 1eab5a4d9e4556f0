from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edgeseg.benchmarks.report import Failure, Report
from edgeseg.cli.terminal.bench_table import (
    bench_table,
    bench_titles,
    describe_metrics,
    describe_report,
    describe_run,
    row_cells,
    row_warnings,
)

ROW: dict[str, Any] = {
    "name": "net-android-int8",
    "stand_in": "",
    "is_baseline": False,
    "latency_ms": {"p50": 4.0, "p90": 5.0, "p99": 6.0, "mean": 4.2},
    "fps": 240.0,
    "peak_rss_mb": 8.0,
    "artifact_bytes": 300_000,
    "load_ms": 20.0,
    "speedup": 2.0,
    "speedup_ci95": [1.9, 2.1],
    "warm_up": {"is_steady": True},
    "accuracy": {"dice_pooled": 0.9},
    "delta": {"dice_pooled": -0.001},
    "delta_ci95": {"dice_pooled": (-0.002, 0.0)},
    "flips_per_10k": 12.0,
}


def cells(**changes: Any) -> dict[str, str]:
    return dict(zip(bench_titles(), row_cells({**ROW, **changes}), strict=True))


def test_a_whole_row_fills_every_cell() -> None:
    assert all(cells().values())
    assert row_warnings([ROW]) == []


def test_an_uncertain_bundle_is_told() -> None:
    limits = {"state": "open", "images": 11, "labelled": 11, "is_accepted": True}
    (warning,) = row_warnings([{**ROW, "limits": limits}])
    assert warning.startswith("net-android-int8 is not known to keep the limits on its masks")
    assert row_warnings([{**ROW, "limits": {**limits, "state": "holds"}}]) == []


def test_a_busy_machine_is_told() -> None:
    assert row_warnings([{**ROW, "waited_share": 0.1}]) == []
    (warning,) = row_warnings([{**ROW, "waited_share": 0.345}])
    assert "waited 34% of the time for its core" in warning
    assert "Measure again when it is quiet" in warning


def test_without_a_baseline_the_speedup_is_empty_and_said() -> None:
    row = {"speedup": None, "speedup_ci95": None}
    assert cells(**row)["speed-up"] == ""
    assert cells(**row)["p50 ms"] == "4.00"
    (warning,) = row_warnings([{**ROW, **row}])
    assert "name the FP32 bundle of the same network and target as well" in warning


def test_without_masks_the_accuracy_is_empty_and_said() -> None:
    row = {"accuracy": None, "delta": None, "delta_ci95": None, "flips_per_10k": None}
    assert [cells(**row)[title] for title in bench_titles()[-3:]] == ["", "", ""]
    (warning,) = row_warnings([{**ROW, **row, "is_baseline": True, "device": "adb://x"}])
    assert "net-android-int8 has no accuracy" in warning
    # Toolkits in older reports were timed only.
    assert row_warnings([{**ROW, **row, "is_baseline": True, "device": ""}]) == []


WRONG = {**ROW, "name": "net by ncnn", "toolkit": "converted by pnnx", "flips_per_10k": 3763.0}


def test_wrong_masks_of_a_toolkit_are_said_in_the_table_and_below_it() -> None:
    assert cells(**WRONG)["artefact"] == "net by ncnn (wrong masks)"
    assert cells(**WRONG)["flips/10k"] == "3763.0"
    assert row_warnings([WRONG]) == [
        "net by ncnn does not compute what torch computes (3763.0 of 10,000 pixels flip): the "
        "toolkit is wrong on this network, and its speed is not to be compared."
    ]


@pytest.mark.parametrize(
    "changes",
    [{"flips_per_10k": 0.9}, {"toolkit": ""}],
    ids=["as much as the order of sums changes", "a bundle, whose precision may flip pixels"],
)
def test_other_masks_are_not_called_wrong(changes: dict[str, Any]) -> None:
    row = {**WRONG, **changes}
    assert cells(**row)["artefact"] == "net by ncnn"
    assert row_warnings([row]) == []


def test_wrong_masks_of_a_baseline_are_said_too() -> None:
    row = {**WRONG, "toolkit": "", "is_baseline": True}
    assert cells(**row)["artefact"] == "net by ncnn (wrong masks)"
    (warning,) = row_warnings([row])
    assert "the speed-up is against a wrong artefact" in warning


def test_toolkits_are_described_and_failures_told() -> None:
    failure = Failure("net by mnn", "net", "mnn", "mnn does not convert net: x. Leave it out.")
    environment = {"cpu": "x", "threads": 1}
    data = {"images": 1, "folder": "sample", "splits": ["val"]}
    row = {**WRONG, "flips_per_10k": 0.0, "reference_key": "1"}
    lines = describe_report(Report(environment, data, [], [row], [failure]))
    assert "net by ncnn is converted by pnnx." in lines
    assert lines[-1] == (
        "Warning: net by mnn was not measured. mnn does not convert net: x. Leave it out."
    )


def test_without_percentiles_their_cell_is_empty() -> None:
    assert cells(latency_ms={"p50": 4.0, "p90": None, "p99": None, "mean": 4.2})["p90 ms"] == ""


def test_a_run_on_a_device_names_it() -> None:
    environment = {"cpu": "Cortex-A78", "threads": 1}
    data = {"images": 30, "folder": "sample", "splits": ["val", "test"]}
    assert describe_run(environment, data).startswith("Cortex-A78, 1 thread(s)")
    assert describe_run(environment, data).endswith("bootstrap interval.")
    clusters = {"kind": "volumes", "count": 3, "text": "30 slices of 3 volumes"}
    volumes = describe_run(environment, {**data, "clusters": clusters})
    assert volumes.endswith("bootstrap interval. 30 slices of 3 volumes.")
    there = describe_run({**environment, "device": "ssh://pi@board"}, data)
    assert there.startswith("ssh://pi@board: Cortex-A78")


def test_a_metric_of_the_table_has_two_columns() -> None:
    assert bench_titles()[-3:] == ["pooled Dice", "difference", "flips/10k"]
    assert cells()["pooled Dice"] == "0.9000"
    assert cells()["difference"] == "-0.0010 (-0.0020..+0.0000)"


def test_distances_are_told_for_each_network_that_has_them() -> None:
    def row(name: str, key: str, **changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "accuracy": {},
            "relative_change": {},
            "relative_change_ci95": {},
        }
        return {"name": name, "reference_key": key, **fields, **changes}

    def changed(change: float, interval: tuple[float, float]) -> dict[str, Any]:
        return {
            "relative_change": {"hd95_px": change},
            "relative_change_ci95": {"hd95_px": interval},
        }

    rows = [
        row("a-fp32", "1", **changed(0.0, (0.0, 0.0))),
        row("a-int8", "1", **changed(0.0123, (-0.01, 0.03))),
        row("a-toolkit", "1", accuracy=None, relative_change=None, relative_change_ci95=None),
        row("a-fp32 of other weights", "2"),
    ]
    reference = [
        {"reference_key": "1", "model": "a", "accuracy": {"hd95_px": 12.345}},
        {"reference_key": "2", "model": "a", "accuracy": {}},
    ]
    assert describe_metrics(reference, rows) == [
        "HD95 of the FP32 reference of a: 12.35 px; a-fp32 +0.00% (+0.00%..+0.00%), "
        "a-int8 +1.23% (-1.00%..+3.00%)."
    ]


def drawn(width: int, *rows: dict[str, Any]) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(bench_table([], list(rows), width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


LONG = {**ROW, "name": "egeunet-onnxruntime-fp32 (plain export)"}


def test_a_wide_table_has_all_columns_in_one_line_a_row() -> None:
    lines = drawn(220, LONG)
    assert len(lines) == 5
    assert all(title in lines[1] for title in bench_titles())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_table_keeps_whole_cells(width: int) -> None:
    lines = drawn(width, LONG)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    titles = "".join(lines[1:3])
    for title in ("p50", "speed-up", "Dice", "difference", "flips/10k"):
        assert title in titles
    for cell in ("4.00", "2.00", "(1.90..2.10)", "-0.0010", "(-0.0020..+0.0000)", "12.0"):
        assert cell in text
    assert ("load" in titles) == (width == 120)


def over(*names: str) -> str:
    rows = [{**ROW, "baseline": {"name": name}} for name in names]
    return bench_titles(rows)[4]


def test_the_speed_ups_heading_names_what_they_are_over() -> None:
    assert over("net-intel-fp32 (plain export)", "net-rtx-fp32 (plain export)") == (
        "speed-up over plain export"
    )
    assert over("net-intel-fp32 (FP32 baseline)") == "speed-up over FP32 baseline"
    mixed = over("net-intel-fp32 (FP32 baseline)", "net-rtx-fp32 (plain export)")
    assert mixed == bench_titles()[4] == bench_titles([{**ROW, "baseline": None}])[4] == "speed-up"
    narrow = {**LONG, "baseline": {"name": LONG["name"]}}
    assert max(map(len, drawn(80, narrow))) <= 80
