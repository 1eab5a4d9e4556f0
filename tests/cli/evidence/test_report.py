"""edgeseg report: files, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import ROOT

RunCli = Callable[..., "CompletedProcess[str]"]
MEASURED = ROOT / "docs" / "results" / "native_egeunet.json"


def test_all_forms_are_written(run_cli: RunCli, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    layers = [{"module": "a.b", "milliseconds": 1.0}]
    facts = {"name": "n", "sum_ms": 1.0, "run_ms": 1.0, "named_share": 1.0}
    profile.write_text(json.dumps({**facts, "layers": layers}))
    output = tmp_path / "report"
    done = run_cli("report", MEASURED, profile, "-o", output)
    assert done.returncode == 0, done.stderr
    rows = json.loads(MEASURED.read_text())["rows"]
    assert f"{len(rows)} rows" in done.stdout
    assert "Where the time goes" in (output / "report.html").read_text()
    with (output / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [row["name"] for row in rows]
    assert float(lines[0]["latency_p50_ms"]) == rows[0]["latency_ms"]["p50"]
    table = (output / "report.md").read_text().splitlines()
    assert len(table) == len(rows) + 2
    assert {line.count("|") for line in table} == {table[0].count("|")}
    record = json.loads((output / "report.json").read_text())
    assert len(record["reports"]) == len(record["profiles"]) == 1
    done = run_cli("report", MEASURED, "-o", output)
    assert done.returncode == 2
    assert "already holds a report. Replace it with --overwrite" in done.stderr
    assert run_cli("report", MEASURED, "-o", output, "--overwrite").returncode == 0


def test_other_files_of_the_folder_are_never_removed(run_cli: RunCli, tmp_path: Path) -> None:
    output = tmp_path / "report"
    assert run_cli("report", MEASURED, "-o", output).returncode == 0
    (output / "bench.json").write_text(MEASURED.read_text())
    done = run_cli("report", output / "bench.json", "-o", output, "--overwrite")
    assert done.returncode == 2
    words = "holds other things beside a report, bench.json, which --overwrite would remove"
    assert words in " ".join(done.stderr.split())
    assert (output / "bench.json").is_file()


def test_hostile_names_stay_in_their_cells(run_cli: RunCli, tmp_path: Path) -> None:
    record = json.loads(MEASURED.read_text())
    record["rows"][1]["name"] = '=1+1|<script>alert("a")</script>\nnext'
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(record))
    assert run_cli("report", path, "-o", tmp_path / "report").returncode == 0
    table = (tmp_path / "report" / "report.md").read_text()
    assert "<script>" not in table
    assert "=1+1\\|&lt;script&gt;" in table
    assert len(table.splitlines()) == len(record["rows"]) + 2
    with (tmp_path / "report" / "report.csv").open(newline="") as file:
        names = [line["name"] for line in csv.DictReader(file)]
    assert names[1].startswith("'=1+1")


CHANGED = json.loads(MEASURED.read_text())
del CHANGED["rows"][1]["name"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not readable JSON"),
        ('{"layers": [1]}', "is no profile. Take the file that edgeseg profile"),
        ('{"rows": 3}', "This is no report of a benchmark"),
        (json.dumps(CHANGED), "A report lacks something or was changed (KeyError: 'name')"),
    ],
)
def test_other_files_are_refused(run_cli: RunCli, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    done = run_cli("report", path, "-o", tmp_path / "report")
    assert done.returncode == 2
    assert words in done.stderr.replace("\n", " ")
    assert not (tmp_path / "report").exists()
