from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeseg.benchmarks import environment
from edgeseg.benchmarks.workers import cpu

CPU_INFO = """processor : 0
model name : Example CPU @ 2.00GHz
flags : fpu sse avx2 avx512_vnni

processor : 1
model name : Example CPU @ 2.00GHz
flags : fpu sse avx2 avx512_vnni
"""


def test_cpu_and_its_notable_instructions_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPU_INFO)
    monkeypatch.setattr(cpu, "CPU_INFO", tmp_path / "cpuinfo")
    record = environment.describe_environment(2)
    assert record["cpu"] == "Example CPU @ 2.00GHz"
    assert record["cpu_flags"] == ["avx2", "avx512_vnni"]
    assert record["threads"] == 2
    assert json.loads(json.dumps(record)) == record


def test_machine_without_cpuinfo_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CPU_INFO", tmp_path / "gone")
    record = environment.describe_environment(1)
    assert record["cpu_flags"] == []
    assert record["cpu"]
