"""What lies in the working folder is no library, however the command is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeseg import __version__


def test_python_m_edgeseg_does_not_import_from_the_working_folder(tmp_path: Path) -> None:
    for name in ("typer", "torch", "click"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of a stranger')")
    done = subprocess.run(
        [sys.executable, "-m", "edgeseg", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"edgeseg {__version__}\n"), done.stderr
