"""Ctrl-C while the command line still imports ends it with one line and the exit code of shells."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import ROOT

from edgeseg import __main__ as started

# A module that gets the signal while it is imported, as if the key were pressed there.
SIGNALLED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.raise_signal(signal.SIGINT)
"""


def script_of_console() -> str:
    """What the installed program does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["edgeseg"].partition(":")
    return f"import sys; from {module} import {function}; sys.exit({function}())"


@pytest.mark.parametrize("words", [("-m", "edgeseg"), ("-c", script_of_console())])
def test_an_interrupt_during_imports_is_one_line(tmp_path: Path, words: tuple[str, str]) -> None:
    (tmp_path / "typer.py").write_text(SIGNALLED)
    done = subprocess.run(
        [sys.executable, *words, "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{started.MESSAGE}\n"


def test_an_interrupt_is_told_as_commands_tell_it() -> None:
    source = (ROOT / "edgeseg" / "cli" / "terminal" / "captured_output.py").read_text("utf-8")
    assert started.MESSAGE.removeprefix("Error: ") in source
