"""The commands that look at a compiled network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from native_graphs import Branches
from support import needs

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


@pytest.mark.parametrize("command", ["profile", "ablation"])
def test_what_it_cannot_look_at_is_told(command: str, tmp_path: Path) -> None:
    branches = Branches((3, 8, 8))
    branches.end(branches.channels(2), "mask")
    graph = branches.save(tmp_path / "net.onnx")
    (tmp_path / "bad.onnx").write_text("nothing")
    for words, wanted in (
        ([str(tmp_path / "gone.onnx")], "There is no file"),
        ([str(tmp_path)], "There is no file"),
        ([str(tmp_path / "bad.onnx")], "bad.onnx"),
        ([str(graph), "--isa", "windows"], "This machine lacks windows"),
    ):
        call = [sys.executable, "-m", f"edgeseg.targets.native.{command}", *words]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert wanted in done.stderr
        assert "Traceback" not in done.stderr
