"""What runs on a device, run here as it runs there: without edgeseg."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runner_bundle import FAKE_BACKEND, SIZE, make_bundle

from edgeseg.benchmarks.process import WorkerProcess
from edgeseg.benchmarks.workers.messages import (
    Describe,
    Label,
    Load,
    Request,
    TimePhases,
    Verify,
    encode_request,
)
from edgeseg.pipeline.devices.ssh import TOOLS

Open = Callable[..., "DeviceProxy"]
ARTIFACT = {"files": ["artifact/net.bin"], "settings": {"device": "CPU"}}


def tool_path(module: str) -> Path:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The device's folder, with the tools and a bundle that calls bright pixels foreground."""
    (tmp_path / "tools").mkdir()
    for module in TOOLS:
        path = tool_path(module)
        shutil.copyfile(path, tmp_path / "tools" / path.name)
    (tmp_path / "bundle").mkdir()
    make_bundle(tmp_path / "bundle", ARTIFACT, {"backend.py": FAKE_BACKEND.encode()})
    return tmp_path


class DeviceProxy(WorkerProcess):
    """A worker that runs as on a device; answers are records, so that errors can be looked at."""

    def tell(self, request: Request[Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(encode_request(request) + "\n")
        stdin.flush()
        record: dict[str, Any] = json.loads(stdout.readline())
        return record


@pytest.fixture
def open_worker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A worker that imports some packages first."""
    monkeypatch.chdir(folder)

    def open_worker(*packages: str) -> DeviceProxy:
        paths = str(Path(np.__file__).parent.parent)
        words = ["device_worker.py", "bundle", "1", json.dumps(packages)]
        program = (
            f"import sys; sys.path.insert(0, {paths!r}); sys.modules['edgeseg'] = None; "
            f"import runpy; sys.argv = {words!r}; "
            "runpy.run_path('tools/device_worker.py', run_name='__main__')"
        )
        return DeviceProxy("the bundle", [sys.executable, "-I", "-S", "-c", program], 1)

    return open_worker


def test_it_measures_without_edgeseg(folder: Path, open_worker: Open) -> None:
    np.save(folder / "timing.npy", np.zeros((2, 1, 3, SIZE, SIZE), np.float32))
    with open_worker("numpy") as worker:
        loaded = worker.load("timing.npy")
        assert loaded.load_ms > 0
        assert worker.first().first_ms > 0
        latencies = worker.time(7).latencies_ms
        assert len(latencies) == 7
        assert min(latencies) > 0
        assert worker.memory().peak_rss_bytes >= loaded.bare_rss_bytes > 0


def test_it_replays_the_golden_pair(folder: Path, open_worker: Open) -> None:
    with open_worker("numpy") as worker:
        worker.load()
        assert worker.ask(Verify()).holds is True
        mask = folder / "bundle" / "golden" / "mask.npy"
        np.save(mask, 1 - np.load(mask))
        assert worker.ask(Verify()).holds is False


def test_it_writes_label_maps(folder: Path, open_worker: Open) -> None:
    bright, dark = np.full((9, 7, 3), 255, np.uint8), np.zeros((9, 7, 3), np.uint8)
    bright[0, 0] = 0  # the network stretches each image from its own minimum
    for name, image in (("a.npy", bright), ("b.npy", dark)):
        np.save(folder / name, image)
    with open_worker("numpy") as worker:
        worker.load()
        assert worker.tell(Label(["a.npy", "b.npy"], "labels.npy")) == {}
    labels = np.load(folder / "labels.npy")
    assert (labels.shape, labels.dtype) == ((2, SIZE, SIZE), np.uint8)
    assert labels[0].mean() > 0.9
    assert labels[1].max() == 0


def test_it_times_the_parts_of_a_prediction(folder: Path, open_worker: Open) -> None:
    picture = np.zeros((48, 80, 3), np.uint8)
    np.save(folder / "picture.npy", picture)
    with open_worker("numpy") as worker:
        worker.load()
        phases = worker.time_phases(TimePhases(["picture.npy"], repeats=3))
    for times in (phases.preprocess_ms, phases.inference_ms, phases.postprocess_ms):
        assert len(times) == 3
        assert min(times) > 0


def test_it_says_what_the_device_is(open_worker: Open) -> None:
    with open_worker("numpy") as worker:
        worker.load()
        facts = worker.ask(Describe(["numpy"])).facts
    assert facts["versions"] == {"numpy": np.__version__}
    assert len(facts["pinned_to_cores"]) == facts["threads"] == 1
    assert facts["python"].startswith("3.")


def test_errors_are_answers(open_worker: Open) -> None:
    with open_worker("no_such_runtime") as worker:
        missing = worker.tell(Load())
    assert "No module named 'no_such_runtime'" in missing["error"]
    with open_worker("numpy") as worker:
        worker.load()
        gone = worker.tell(Label(["gone.npy"], "labels.npy"))
    assert (gone["errno"], "gone.npy" in gone["error"]) == (2, True)


def test_it_ends_when_its_input_does(open_worker: Open) -> None:
    with open_worker("numpy") as worker:
        worker.load()
        assert worker._process.stdin is not None
        worker._process.stdin.close()
        assert worker._process.wait(10) == 0


ANNOTATIONS = ("annotation", "returns")


@pytest.mark.parametrize("module", TOOLS)
def test_tools_keep_to_old_python(module: str) -> None:
    tree = ast.parse(tool_path(module).read_text(), feature_version=(3, 8))
    notes = [getattr(node, name, None) for node in ast.walk(tree) for name in ANNOTATIONS]
    read = {node for note in notes if note is not None for node in ast.walk(note)}
    computed = [node for node in ast.walk(tree) if node not in read]
    # set[str] is computed only where it is no annotation, and fails before Python 3.9.
    names = [
        node.value.id
        for node in computed
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    ]
    assert not {"set", "frozenset", "list", "dict", "tuple", "type", "Callable"} & set(names)
