"""The table of many profiles."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import ROOT

from edgeseg.pipeline.studies.profiles import ProfileRow, shares_of, table_of

ROW = ProfileRow(
    model="net",
    runtime="openvino",
    precision="int8",
    size="64x64",
    named_share=0.9312,
    attributed_share=1.0,
    sum_ms=3.1,
    run_ms=3.0,
    counters_ms=0.25,
    floor_ms=1.5,
    layers=7,
    isa="x86-64-v4",
)


def test_a_row_reads_well() -> None:
    head, rule, line = table_of([ROW]).splitlines()
    assert head.count("|") == rule.count("|") == line.count("|")
    assert line == "| net | openvino | int8 | 93.1% | 100.0% | 3.10 | 3.00 | +0.25 | 2.0x |"


def test_shares_stand_in_a_column_for_each_runtime() -> None:
    rows = [ROW, replace(ROW, precision="fp32"), replace(ROW, runtime="native", named_share=1.0)]
    assert shares_of(rows).splitlines() == [
        "| network | openvino | native |",
        "|---|---|---|",
        "| net int8 | 100.0% (93%), 0.95 | 100.0% (100%), 0.95 |",
        "| net fp32 | 100.0% (93%), 0.95 |  |",
    ]


def test_the_table_that_is_shown_is_that_of_the_study() -> None:
    record = json.loads((ROOT / "docs" / "results" / "profiles.json").read_text(encoding="utf-8"))
    rows = [ProfileRow(**row) for row in record["rows"]]
    assert len(rows) == 40
    assert shares_of(rows) in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert all(row.attributed_share > 0.95 for row in rows)


@pytest.mark.slow
def test_what_cannot_be_profiled_is_told_beside_the_others(
    small_bundles: dict[str, Path], tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "edgeseg.pipeline.studies.profiles"]
    words += [str(tmp_path / "none"), str(small_bundles["fp32"])]
    output = tmp_path / "rows.json"
    done = subprocess.run(
        [*words, "--runs", "2", "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{tmp_path / 'none'}: " in done.stderr
    (row,) = json.loads(output.read_text())["rows"]
    assert row["model"] == "egeunet"
    assert row["size"] == "64x64"
    assert row["attributed_share"] > 0.99
    assert "| egeunet | onnxruntime | fp32 |" in done.stdout
