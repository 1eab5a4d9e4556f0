"""Where results go: a closed or full output is a failure, and "-" is the standard output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from edgeseg.cli.bench import _older_json_file, _require_report_place

RunCli = Callable[..., "CompletedProcess[str]"]

FULL = Path("/dev/full")


def run_in_shell(words: str, ending: str) -> CompletedProcess[str]:
    command = f'"{sys.executable}" -m edgeseg {words} {ending}'
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", ["models", "models --json", "--version", "--help"])
def test_a_closed_output_is_a_failure(words: str) -> None:
    done = run_in_shell(words, ">&-")
    assert done.returncode == 1
    assert "Error: The standard output is closed. Send it to a file or to /dev/null." in done.stderr


@pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full")
@pytest.mark.parametrize("words", ["models", "models --json", "--version"])
def test_a_full_output_is_a_failure(words: str) -> None:
    done = run_in_shell(words, f">{FULL}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No space left on device. Check the path")
    assert "Traceback" not in done.stderr
    assert FULL.is_char_device()


def test_a_closed_error_output_is_none() -> None:
    done = run_in_shell("models --json", "2>&-")
    assert done.returncode == 0
    assert json.loads(done.stdout)


def test_a_dash_after_json_is_the_standard_output(run_cli: RunCli) -> None:
    done = run_cli("models", "--json", "-")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(run_cli("models", "--json").stdout)


def test_a_report_may_go_to_a_device_or_a_pipe(tmp_path: Path) -> None:
    bundle, pipe, null = tmp_path / "bundle", tmp_path / "pipe", Path(os.devnull)
    bundle.mkdir()
    os.mkfifo(pipe)
    for place in (pipe, null):
        assert _older_json_file([bundle, place]) == ([bundle], place)
        _require_report_place(place)  # does not read it, which would wait


def test_a_full_disk_is_told_in_one_line(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "[Errno 28] No space left on device: 'bundle/a'"

    def fail() -> None:
        raise shutil.Error([("cache/a", "bundle/a", reason), ("cache/b", "bundle/b", reason)])

    monkeypatch.setattr("edgeseg.cli.app", fail)
    done = run_cli("build")
    assert done.returncode == 1
    expected = f"Error: {reason}. Check the path, its rights and the disk."
    assert done.stderr.splitlines()[0] == expected
