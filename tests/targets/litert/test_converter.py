from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_sshd import wait_until
from support import needs

from edgeseg.targets.litert.conversion import FAILURE, FLOAT_FILE, GRAPH_FILE
from edgeseg.targets.litert.converter import CONVERTER, Converter

# Stands for the conversion: tells what it sees of the request, and what an earlier one left.
SERVER = f"""
import os, sys, tempfile, time
from pathlib import Path
from edgeseg.targets.litert import converter

def convert_and_tell(switches):
    left = getattr(sys, "left_behind", "nothing")
    sys.left_behind = "something"
    if "sleep" in switches:
        Path("pid").write_text(str(os.getpid()))
        time.sleep(600)
    if "die" in switches:
        os.kill(os.getpid(), 9)
    if "fail" in switches:
        print("{FAILURE}it broke", file=sys.stderr)
        return 1
    words = [*switches, left, os.environ.get("WORD"), os.environ["PYTHONHASHSEED"]]
    Path("seen").write_text(" ".join(map(str, [*words, os.getppid(), tempfile.gettempdir()])))
    return 0

converter.convert_and_tell = convert_and_tell
converter.IDLE_S = float(os.environ["IDLE_S"])
converter.importlib.import_module = lambda package: None
converter.serve()
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    monkeypatch.setenv("IDLE_S", "600")
    return [sys.executable, str(script)]


@pytest.fixture
def own(command: list[str]) -> Iterator[Converter]:
    """A converter whose process converts nothing."""
    made = Converter(command)
    yield made
    made.close()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ask(asked: Converter, folder: Path, *switches: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    assert asked.convert(folder, switches) == (0, "")
    return (folder / "seen").read_text().split()


def test_one_process_converts_again_and_again_and_nothing_is_left_behind(
    own: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "one")
    first = ask(own, tmp_path / "a", "half")
    monkeypatch.setenv("WORD", "two")
    second = ask(own, tmp_path / "b", "trial")
    assert first[:4] == ["half", "nothing", "one", "0"]
    assert second[:4] == ["trial", "nothing", "two", "0"]
    assert first[4] == second[4]  # forks of one process
    # What TensorFlow leaves among the temporary files goes with each conversion's folder.
    temporary = tuple(str(tmp_path / name / "temporary") for name in "ab")
    assert (first[5], second[5]) == temporary


def test_after_a_failure_the_same_process_goes_on(own: Converter, tmp_path: Path) -> None:
    before = ask(own, tmp_path)
    assert own.convert(tmp_path, ["fail"]) == (1, f"{FAILURE}it broke\n")
    assert own.convert(tmp_path, ["die"]) == (-9, "")
    assert ask(own, tmp_path) == before


def test_a_process_that_was_killed_is_started_anew(own: Converter, tmp_path: Path) -> None:
    before = int(ask(own, tmp_path)[3])
    os.kill(before, 9)
    assert own.convert(tmp_path, []) in [(0, ""), (-9, "")]  # killed just now, or a moment ago
    assert int(ask(own, tmp_path)[3]) != before


def test_an_idle_process_ends_and_is_started_anew(
    own: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDLE_S", "0")
    for _ in range(3):
        ask(own, tmp_path)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_who_asked_ends_and_the_conversion_with_it(
    by: signal.Signals, command: list[str], tmp_path: Path
) -> None:
    client = f"""
from pathlib import Path
from edgeseg.targets.litert.converter import Converter
Converter({command!r}).convert(Path({str(tmp_path)!r}), ["sleep"])
"""
    told = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", client], stderr=subprocess.DEVNULL) as asking:
        assert wait_until(lambda: told.exists() and told.read_text() != "")
        asking.send_signal(by)
    assert wait_until(lambda: not is_running(int(told.read_text())))


@pytest.mark.slow
@needs("onnx2tf", "onnx")
def test_a_used_process_gives_the_bytes_of_a_fresh_one(tmp_path: Path) -> None:
    import onnx

    made = []
    fresh = Converter()
    for kind, used in (("Tanh", CONVERTER), ("Sigmoid", CONVERTER), ("Tanh", fresh)):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        text = f"""
            <ir_version: 10, opset_import: ["" : 20]>
            net (float[1,3,8,8] image) => (float[1,1,8,8] mask)
            <float[1,3,1,1] weight = {{1, -2, 1}}>
            {{ logits = Conv(image, weight)  mask = {kind}(logits) }}
        """
        onnx.save(onnx.parser.parse_model(text), folder / GRAPH_FILE)
        assert used.convert(folder, []) == (0, "")
        made.append((folder / FLOAT_FILE).read_bytes())
    fresh.close()
    assert made[0] == made[2] != made[1]
