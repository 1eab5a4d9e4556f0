"""edgeseg compare: exit codes, words and tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from bench_reports import report_of

from edgeseg.benchmarks.report import Report
from edgeseg.cli.evidence.compare import parse_margins
from edgeseg.errors import UsageError

RunCli = Callable[..., "CompletedProcess[str]"]
GATES = "speed:5%,dice:0.005,flips:10"


def written(folder: Path, name: str, report: Report) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(report.to_json()))
    return path


def test_exit_codes_and_words(run_cli: RunCli, tmp_path: Path) -> None:
    old = written(tmp_path, "old", report_of(seed=1))
    same = written(tmp_path, "same", report_of(seed=2))
    slower = written(tmp_path, "slower", report_of(slower=0.25, seed=2))
    other = written(tmp_path, "other", report_of(environment={"cpu": "another"}))
    done = run_cli("compare", old, same, "--fail-on", GATES)
    assert done.returncode == 0, done.stderr
    assert "Nothing failed." in done.stdout
    done = run_cli("compare", old, slower, "--fail-on", GATES)
    assert done.returncode == 1
    assert "slower, fails" in done.stdout
    assert "Failed: net-intel-fp32: time of a run +2" in done.stdout
    assert done.stderr == ""
    assert run_cli("compare", old, slower).returncode == 0  # nothing was asked for
    done = run_cli("compare", old, other)
    assert done.returncode == 2
    assert "Measure both in the same way, on the same machine" in done.stderr


def test_json_and_markdown(run_cli: RunCli, tmp_path: Path) -> None:
    old = written(tmp_path, "old", report_of(seed=1))
    slower = written(tmp_path, "slower", report_of(slower=0.25, seed=2))
    done = run_cli("compare", old, slower, "--fail-on", "speed:5%", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["changes"][0]["verdict"] == "slower"
    done = run_cli("compare", old, slower, "--markdown")
    assert done.stdout.splitlines()[1] == "| --- | --- | --- | --- | --- |"
    assert "| net-intel-fp32 | time of a run | +2" in done.stdout


def test_files_that_are_no_reports(run_cli: RunCli, tmp_path: Path) -> None:
    old = written(tmp_path, "old", report_of())
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    for name, words in (
        ("none.json", "Make one with edgeseg bench --json-file"),
        ("broken.json", "is not readable JSON"),
        ("list.json", "This is no report of a benchmark"),
    ):
        done = run_cli("compare", old, tmp_path / name)
        assert done.returncode == 2
        assert words in done.stderr.replace("\n", " ")


def test_an_artefact_that_is_gone_fails_a_gate(run_cli: RunCli, tmp_path: Path) -> None:
    both = report_of(seed=1)
    second = {**both.rows[1], "name": "net-intel-int8"}
    old = written(tmp_path, "old", replace(both, rows=[*both.rows, second]))
    new = written(tmp_path, "new", report_of(seed=2))
    done = run_cli("compare", old, new, "--fail-on", GATES)
    assert done.returncode == 1
    assert "The second report lacks net-intel-int8" in done.stdout
    assert run_cli("compare", old, new).returncode == 0  # nothing was asked for
    assert run_cli("compare", new, old, "--fail-on", GATES).returncode == 0  # it was added


@pytest.mark.parametrize(
    ("place", "value"),
    [("quick_ratio", {"log": float("nan"), "without": []}), ("name", 5)],
)
def test_numbers_and_names_that_are_none_are_refused(
    run_cli: RunCli, tmp_path: Path, place: str, value: object
) -> None:
    report = report_of(seed=1)
    old = written(tmp_path, "old", report)
    rows = [report.rows[0], {**report.rows[1], place: value}]
    new = written(tmp_path, "new", replace(report, rows=rows))
    for pair in ((old, new), (new, old)):
        done = run_cli("compare", *pair, "--fail-on", GATES)
        assert done.returncode == 2
        assert "unchanged" in done.stderr


def test_a_profile_is_no_report(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text('{"layers": []}')
    done = run_cli("compare", tmp_path / "profile.json", tmp_path / "profile.json")
    assert done.returncode == 2
    assert "This is a profile" in done.stderr


@pytest.mark.parametrize(
    ("word", "advice"),
    [("speed:5", "Write speed:5% if that is meant"), ("flips:10%", "Write flips:10")],
)
def test_units_that_were_forgotten_are_asked_for(word: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        parse_margins([word])


def test_margins_are_read() -> None:
    assert parse_margins(["speed:5%,dice:0.005", "flips:10"]) == {
        "speed": 0.05,
        "dice_pooled": 0.005,
        "flips": 10.0,
    }
    for word in ("speed", "speed:fast", "speed:-1", ",", "dice:nan"):
        with pytest.raises(UsageError, match="Write it as QUANTITY:MARGIN"):
            parse_margins([word])
    with pytest.raises(UsageError, match="names dice_pooled twice"):
        parse_margins(["dice:0.1,dice_pooled:0.2"])
