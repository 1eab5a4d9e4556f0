"""A bundle may come from anywhere: no command imports or runs what it holds."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.errors import UsageError
from edgeseg.models.spec import TWIN_PATH
from edgeseg.pipeline.builder.bundle_reference import (
    may_import,
    reference_runner,
    require_named,
)
from edgeseg.pipeline.builder.runners import ArtifactRunner, ReferenceRunner

RunCli = Callable[..., "CompletedProcess[str]"]

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")

PLACES: list[dict[str, Any]] = [
    {"place": "evil_nets:Net", "arguments": {}},
    {"place": TWIN_PATH, "arguments": {"place": "evil_nets:Net"}},
]


def claim(bundle: Path, **changed: Any) -> None:
    """Write something else about the network into a manifest."""
    path = bundle / "manifest.json"
    record = json.loads(path.read_text())
    record["model"]["spec"].update(changed)
    path.write_text(json.dumps(record))


@pytest.fixture
def sent(small_bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle in the working folder, beside code and in whose runner there is code."""
    folder = tmp_path / "sent"
    shutil.copytree(small_bundles["fp32"], folder)
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    # Modules that an import would find first, and the class that the manifest names.
    for name in ("evil_nets", "openvino", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("claimed", PLACES)
def test_no_command_imports_what_a_manifest_names(
    sent: Path, claimed: dict[str, Any], run_cli: RunCli
) -> None:
    claim(sent, **claimed)
    image = open_sample(["val"])[0].image_path
    commands: list[tuple[object, ...]] = [
        ("verify", sent),
        ("predict", sent, image, "-o", "masks", "--gallery", "gallery.png"),
        ("bench", sent, "--runs", "2", "--images", "2"),
    ]
    for words in commands:
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr
    assert Path("gallery.png").exists()
    assert "evil_nets" not in sys.modules
    assert not Path("ran").exists()


def test_the_reference_of_another_network_is_its_graph(sent: Path) -> None:
    own = reference_runner(open_bundle(sent))
    assert isinstance(own, ReferenceRunner)
    claim(sent, **PLACES[0])
    bundle = open_bundle(sent)
    graph = reference_runner(bundle)
    assert isinstance(graph, ArtifactRunner)
    image = bundle.inputs.prepare(open_sample(["val"])[0].read_image())
    np.testing.assert_allclose(graph.open().run(image), own.open().run(image), atol=1e-3)


def test_a_class_that_the_user_names_is_imported(sent: Path) -> None:
    claim(sent, **PLACES[0])
    bundle = open_bundle(sent)
    assert not may_import(bundle, None)
    assert not may_import(bundle, "evil_nets:Other")
    assert may_import(bundle, "evil_nets:Net")
    runner = reference_runner(bundle, "evil_nets:Net")
    assert isinstance(runner, ReferenceRunner)
    assert runner.folder == Path.cwd()


def test_a_class_of_no_bundle_is_refused(sent: Path) -> None:
    bundles = [open_bundle(sent)]
    require_named(bundles, None)
    with pytest.raises(UsageError, match=r"is the class of none .* Name that of a bundle"):
        require_named(bundles, "mine:Net")


def test_arguments_of_a_class_that_is_named_are_not_imported(sent: Path) -> None:
    claim(sent, place="mine:Net", arguments={"width": 4})
    assert may_import(open_bundle(sent), "mine:Net")
    for arguments in ({"norm": "evil_nets:Net"}, {"blocks": [{"act": "evil_nets:Net"}]}):
        claim(sent, place="mine:Net", arguments=arguments)
        assert not may_import(open_bundle(sent), "mine:Net")
