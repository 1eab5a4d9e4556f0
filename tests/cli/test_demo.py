from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image
from support import ROOT, needs

from edgeseg.errors import MissingBackendError
from edgeseg.pipeline import demo

RunCli = Callable[..., "CompletedProcess[str]"]


def test_a_machine_without_runtimes_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.lazy.is_installed", lambda _: False)
    monkeypatch.setattr("edgeseg.targets.base.is_installed", lambda _: False)
    with pytest.raises(MissingBackendError, match=r"none is installed\. Install one with: pip in"):
        demo.run_demo(demo.DemoRequest(tmp_path / "demo"))
    assert not (tmp_path / "demo").exists()


@needs("torch", "onnxruntime")
@pytest.mark.slow
def test_the_demo_shows_table_and_picture_in_few_lines(
    tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = demo.run_demo
    small = partial(demo.BuildRequest, size=(64, 64), calibration_images=4)
    monkeypatch.setattr(demo, "BuildRequest", small)

    def run_one(request: demo.DemoRequest, *others: Any) -> demo.DemoResult:
        return run(dataclasses.replace(request, devices=("onnxruntime",), runs=12), *others)

    monkeypatch.setattr(demo, "run_demo", run_one)
    done = run_cli("demo", "-o", tmp_path / "demo", "--search-seconds", 0)
    assert done.returncode == 0, done.stderr
    assert len((done.stdout + done.stderr).splitlines()) <= 38  # of 40: make demo adds at most two
    assert "speed-up (95 %)" in done.stdout
    report = json.loads((tmp_path / "demo" / "bench.json").read_text())
    assert [row["is_baseline"] for row in report["rows"]] == [True, False]
    width, height = Image.open(tmp_path / "demo" / "gallery.png").size
    assert width == 4 * 232 + 8
    assert height > 2 * 248


def test_the_command_and_python_search_equally_long() -> None:
    from edgeseg.cli.demo import demo as command

    default = inspect.signature(command).parameters["search_seconds"].default
    assert default == demo.DemoRequest().search_seconds


def test_make_demo_calls_it_and_says_little() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [".venv/bin/edgeseg demo --output demo"]
