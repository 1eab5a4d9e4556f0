"""Where `edgeseg bench` puts its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edgeseg.benchmarks.margins import with_verdicts
from edgeseg.benchmarks.report import Report
from edgeseg.pipeline.bench import BenchRequest

RunCli = Callable[..., "CompletedProcess[str]"]
REPORT = Report(
    {"cpu": "a CPU", "threads": 1}, {"images": 3, "folder": "data", "splits": ["val"]}, [], []
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[BenchRequest]:
    """What is asked to be measured; nothing is."""
    requests: list[BenchRequest] = []

    def run(request: BenchRequest, _: object) -> Report:
        requests.append(request)
        return REPORT

    monkeypatch.setattr("edgeseg.pipeline.bench.run_bench", run)
    return requests


def test_json_prints_the_report_and_nothing_else(
    run_cli: RunCli, asked: list[BenchRequest]
) -> None:
    done = run_cli("bench", "a", "b", "--json")
    assert json.loads(done.stdout) == REPORT.to_json()
    assert asked[0].bundles == (Path("a"), Path("b"))


@pytest.mark.parametrize("option", ["--json-file", "--output", "-o"])
def test_a_file_gets_the_report_and_people_the_table(
    run_cli: RunCli, asked: list[BenchRequest], tmp_path: Path, option: str
) -> None:
    done = run_cli("bench", "a", option, tmp_path / "bench.json")
    assert "artefact" in done.stdout
    assert json.loads((tmp_path / "bench.json").read_text()) == REPORT.to_json()


@pytest.mark.parametrize("is_first", [True, False])
def test_json_with_a_file_still_writes_it(
    run_cli: RunCli, asked: list[BenchRequest], tmp_path: Path, is_first: bool
) -> None:
    words = [["--json", tmp_path / "bench.json"], ["a", "b"]]
    first, last = words if is_first else reversed(words)
    done = run_cli("bench", *first, *last)
    assert "artefact" in done.stdout
    assert json.loads((tmp_path / "bench.json").read_text()) == REPORT.to_json()
    assert asked[0].bundles == (Path("a"), Path("b"))


def test_a_folder_that_ends_in_json_is_a_bundle(
    run_cli: RunCli, asked: list[BenchRequest], tmp_path: Path
) -> None:
    (tmp_path / "net.json").mkdir()
    done = run_cli("bench", tmp_path / "net.json", "--json")
    assert json.loads(done.stdout) == REPORT.to_json()
    assert asked[0].bundles == (tmp_path / "net.json",)


def test_a_folder_is_no_file_for_a_report(run_cli: RunCli, tmp_path: Path) -> None:
    done = run_cli("bench", "a", "--json-file", tmp_path)
    assert done.returncode == 2
    assert "is a folder. Name a file in it." in done.stderr


@pytest.mark.parametrize(("low", "code"), [(-0.004, 0), (-0.02, 1)])
def test_the_exit_code_tells_whether_a_margin_is_kept(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, low: float, code: int
) -> None:
    row = {
        "name": "net",
        "is_baseline": False,
        "delta": {"dice_pooled": -0.001},
        "delta_ci95": {"dice_pooled": [low, 0.002]},
    }
    measured = with_verdicts(
        replace(REPORT, rows=[row], data={**REPORT.data, "images": 30}), {"dice_pooled": 0.005}
    )
    monkeypatch.setattr("edgeseg.pipeline.bench.run_bench", lambda request, _: measured)
    words = ("bench", "a", "--json")
    assert run_cli(*words, "--max-change", "dice_pooled=0.005").returncode == code
    assert run_cli(*words).returncode == 0, "nobody asked for a margin"


def test_a_margin_that_is_none_is_refused_before_the_work(run_cli: RunCli) -> None:
    done = run_cli("bench", "nowhere", "--max-change", "dice_pooled=-1")
    assert done.returncode == 2
    assert "Give a number from 0 on" in done.stderr


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--max-change", "mae=0.1"), "is not scored here"),
        (("--sweep-threads", "many"), "is no whole number"),
        (("--sweep-threads", ""), "--sweep-threads is empty"),
        (("--sustain", "long"), "is no time of a second or more"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_work(
    run_cli: RunCli, tmp_path: Path, words: tuple[str, ...], advice: str
) -> None:
    done = run_cli("bench", tmp_path / "no bundle", *words)
    assert done.returncode == 2
    assert advice in " ".join(done.stderr.split())


def test_a_report_below_a_file_is_refused_before_the_work(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_cli("bench", "a", "--json-file", tmp_path / "file" / "bench.json")
    assert done.returncode == 2
    assert "is a file, and no folder. Name another place" in " ".join(done.stderr.split())


def test_margins_have_short_names_and_percents(run_cli: RunCli, asked: list[BenchRequest]) -> None:
    run_cli("bench", "a", "--max-change", "dice=0.5%", "--json")
    assert asked[0].max_change == {"dice_pooled": 0.005}


def test_an_interrupted_command_says_so(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(request: BenchRequest, _: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeseg.pipeline.bench.run_bench", interrupted)
    done = run_cli("bench", "a")
    assert done.returncode == 130
    assert "Interrupted. Nothing half-written is left; run the command again" in done.stderr
