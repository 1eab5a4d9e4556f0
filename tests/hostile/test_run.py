"""What `make hostile` runs notices each kind of fault; some inputs of each kind are tried here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import needs

from edgeseg.errors import UsageError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import guard


def raises(error: BaseException) -> None:
    raise error


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> guard.Watch:
    return guard.Watch(tmp_path_factory.mktemp("allowed"))


def test_each_kind_of_fault_is_noticed(watch: guard.Watch, tmp_path: Path) -> None:
    def judge(action: object) -> str:
        return guard.judge(action, watch, 0.5)[0]  # type: ignore[arg-type]

    advice = "No such thing. Name another one."
    assert judge(lambda: None) == guard.TAKEN
    assert judge(lambda: raises(UsageError(advice))) == guard.REFUSED
    assert judge(lambda: raises(UsageError("oops"))) == "message"
    assert judge(lambda: raises(KeyError("a"))) == "KeyError"
    assert judge(lambda: raises(MemoryError())) == "MemoryError"
    assert judge(lambda: time.sleep(9)) == "hang"
    assert judge(lambda: (tmp_path / "owned").write_text("x")) == "outside"
    assert judge(lambda: os.system("true")) == "outside"


@needs("torch", "onnx", "onnxscript", "onnxruntime")
@pytest.mark.slow
def test_some_inputs_of_each_kind_are_taken_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "run.py"), "--inputs", "150", "--seed", "7"]
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 faults" in done.stdout


def test_an_end_of_the_process_is_told_and_the_rest_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import run

    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "first, count = map(int, sys.argv[2:4])\n"
        "for index in range(first, first + count):\n"
        "    print(json.dumps({'index': index}), flush=True)\n"
        "    if index == 2:\n"
        "        os.abort()\n"
        "    print(json.dumps({'index': index, 'verdict': 'taken', 'words': ''}), flush=True)\n"
    )
    monkeypatch.setattr(run, "HERE", tmp_path)
    tally = run.Tally()
    run.run_part("images", 0, 5, 1, tmp_path, tally)
    assert tally.verdicts == {"taken": 4, "crash -6": 1}
    assert tally.faults[0][:2] == (2, "crash -6")
