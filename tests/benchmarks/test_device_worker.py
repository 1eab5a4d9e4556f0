"""What runs on a device, run here as it runs there: without edgeseg."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runner_bundle import FAKE_BACKEND, SIZE, make_bundle

from edgeseg.pipeline.devices.ssh import TOOLS

Tell = Callable[..., dict[str, Any]]
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
    for name, module in TOOLS.items():
        shutil.copyfile(tool_path(module), tmp_path / "tools" / name)
    (tmp_path / "bundle").mkdir()
    make_bundle(tmp_path / "bundle", ARTIFACT, {"backend.py": FAKE_BACKEND.encode()})
    return tmp_path


@pytest.fixture
def tell(folder: Path) -> Iterator[Tell]:
    """Ask a worker."""
    paths = str(Path(np.__file__).parent.parent)
    program = (
        f"import sys; sys.path.insert(0, {paths!r}); sys.modules['edgeseg'] = None; import runpy; "
        "sys.argv = ['device_worker.py', 'bundle', '1']; "
        "runpy.run_path('tools/device_worker.py', run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(command: str, **arguments: Any) -> dict[str, Any]:
            stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        yield ask
        stdin.close()
        assert process.wait(10) == 0


def test_it_measures_without_edgeseg(folder: Path, tell: Tell) -> None:
    np.save(folder / "timing.npy", np.zeros((2, 1, 3, SIZE, SIZE), np.float32))
    loaded = tell("load", packages=["numpy"], images="timing.npy")
    assert loaded["load_ms"] > 0
    assert tell("first")["first_ms"] > 0
    latencies = tell("time", count=7)["latencies_ms"]
    assert len(latencies) == 7
    assert min(latencies) > 0
    assert tell("memory")["peak_rss_bytes"] >= loaded["bare_rss_bytes"] > 0


def test_it_replays_the_golden_pair(folder: Path, tell: Tell) -> None:
    tell("load", packages=["numpy"])
    assert tell("verify")["holds"] is True
    mask = folder / "bundle" / "golden" / "mask.npy"
    np.save(mask, 1 - np.load(mask))
    assert tell("verify")["holds"] is False


def test_it_writes_label_maps(folder: Path, tell: Tell) -> None:
    tell("load", packages=["numpy"])
    bright, dark = np.full((9, 7, 3), 255, np.uint8), np.zeros((9, 7, 3), np.uint8)
    bright[0, 0] = 0  # the network stretches each image from its own minimum
    for name, image in (("a.npy", bright), ("b.npy", dark)):
        np.save(folder / name, image)
    assert tell("label", images=["a.npy", "b.npy"], result="labels.npy") == {}
    labels = np.load(folder / "labels.npy")
    assert (labels.shape, labels.dtype) == ((2, SIZE, SIZE), np.uint8)
    assert labels[0].mean() > 0.9
    assert labels[1].max() == 0


def test_it_says_what_the_device_is(tell: Tell) -> None:
    tell("load", packages=["numpy"])
    facts = tell("describe", packages=["numpy"])
    assert facts["versions"] == {"numpy": np.__version__}
    assert len(facts["pinned_to_cores"]) == facts["threads"] == 1
    assert facts["python"].startswith("3.")


def test_errors_are_answers(tell: Tell) -> None:
    missing = tell("load", packages=["no_such_runtime"])
    assert "No module named 'no_such_runtime'" in missing["error"]
    tell("load", packages=["numpy"])
    gone = tell("label", images=["gone.npy"], result="labels.npy")
    assert (gone["errno"], "gone.npy" in gone["error"]) == (2, True)


ANNOTATIONS = ("annotation", "returns")


@pytest.mark.parametrize("module", TOOLS.values())
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
