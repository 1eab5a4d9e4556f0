"""What holds for ONNX Runtime's backend alone; `test_runners` has what holds for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseg.records import Artifact
from edgeseg.targets.runners import onnxruntime_backend

pytest.importorskip("onnxruntime")

PROGRAM = """
import json, sys
from pathlib import Path
import onnxruntime_backend
folder, files, settings = json.loads(sys.argv[1])
onnxruntime_backend.Backend(Path(folder), files, settings, 1)
"""


def test_nothing_is_sent_and_no_identifier_is_kept(
    small_artifact: Callable[..., Artifact], tmp_path: Path
) -> None:
    """ONNX Runtime keeps what it sends and whose it is in the user's or the temporary folder."""
    artifact = small_artifact("onnxruntime")
    arguments = json.dumps([str(artifact.folder), artifact.files, dict(artifact.settings)])
    environment = {
        name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"
    }
    environment |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment["PYTHONPATH"] = str(Path(onnxruntime_backend.__file__).parent)
    subprocess.run([sys.executable, "-c", PROGRAM, arguments], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
