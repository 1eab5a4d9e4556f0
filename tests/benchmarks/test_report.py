"""Reports that were written before metrics came from one table are read, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from edgeseg.benchmarks.report import Failure, Report, upgraded_row, without_samples
from edgeseg.cli.terminal.bench_table import describe_metrics, row_cells
from edgeseg.errors import UsageError

DOCUMENTS = sorted((ROOT / "docs" / "results").glob("auto_*.json"))


def test_a_report_comes_back_as_it_was() -> None:
    scores = {"accuracy": {"dice_pooled": 0.9}, "relative_change": {"dice_pooled": -0.1}}
    names = {"model": "a", "reference_key": "1"}
    failure = Failure("a by b", "a", "b", "b does not convert a. Leave it out.")
    report = Report({"cpu": "x"}, {"images": 3}, [names], [{**names, **scores}], [failure])
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_older_reports_know_no_failures() -> None:
    record = Report({}, {"images": 3}, [], []).to_json()
    del record["failures"]
    assert Report.from_json(record).failures == []


def test_hd95_of_an_older_row_is_a_metric_among_others() -> None:
    older = {
        "model": "a",
        "accuracy": {"dice_pooled": 0.9},
        "hd95_px": 12.5,
        "hd95_growth": 0.25,
        "hd95_growth_ci95": [0.1, 0.4],
    }
    assert upgraded_row(older) == {
        "model": "a",
        "reference_key": "a",
        "accuracy": {"dice_pooled": 0.9, "hd95_px": 12.5},
        "relative_change": {"hd95_px": 0.25},
        "relative_change_ci95": {"hd95_px": [0.1, 0.4]},
    }
    nothing = dict.fromkeys(("hd95_px", "hd95_growth", "hd95_growth_ci95"))
    assert upgraded_row({"model": "a", "reference_key": "1", "accuracy": None, **nothing}) == {
        "model": "a",
        "reference_key": "1",
        "accuracy": None,
        "relative_change": {},
        "relative_change_ci95": {},
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_documents_of_the_project_are_read(path: Path) -> None:
    reports = reports_in(json.loads(path.read_text(encoding="utf-8")))
    assert reports
    for report in reports:
        lines = describe_metrics(report.reference, report.rows)
        assert len(lines) == len(report.reference)
        for line in lines:
            assert line.startswith("HD95 of the FP32 reference of ")
            assert " px; " in line
            assert line.count("%..") >= 2
        for row in report.rows:
            if row["accuracy"] is not None:
                assert all(row_cells(row)[-3:])


def reports_in(record: Any) -> list[Report]:
    """The reports in a document."""
    if isinstance(record, dict) and {"environment", "data", "reference", "rows"} <= record.keys():
        return [Report.from_json(record)]
    values = record.values() if isinstance(record, dict) else record
    inner = [value for value in values if isinstance(value, dict | list)]
    return [report for value in inner for report in reports_in(value)]


@pytest.mark.parametrize("rows", [[3], None, ["row"]])
def test_something_else_is_refused(rows: Any) -> None:
    record = {"environment": {}, "data": {}, "reference": [], "rows": rows}
    with pytest.raises(UsageError, match="Take the file that edgeseg bench --json-file has"):
        Report.from_json(record)
    with pytest.raises(UsageError, match=r"no report of a benchmark \(KeyError"):
        Report.from_json({"rows": []})


def test_verdicts_of_a_manifest_name_no_image() -> None:
    verdict = {"metric": "worst_dice", "image": "mueller_anna"}
    kept = without_samples({"name": "net", "margins": [verdict]})
    assert kept["margins"] == [{"metric": "worst_dice", "image": ""}]
