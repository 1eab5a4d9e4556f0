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


CHANGED = json.loads(MEASURED.read_text())
del CHANGED["rows"][1]["name"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not readable JSON"),
        ('{"layers": [1]}', "is no profile. Take what edgeseg profile"),
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
