from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image
from support import draw_pair, needs, toolkit_python

from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.benchmarks.workers.messages import Done, Label, LabelPrepared
from edgeseg.contract import OutputContract
from edgeseg.data.images import read_image
from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.lazy import is_installed
from edgeseg.models import find_model
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.builder.request import open_split
from edgeseg.pipeline.measuring.external_toolkits import (
    ToolkitEnvironment,
    ToolkitProcess,
    open_environments,
    parse_toolkits,
    toolkit_participants,
)
from edgeseg.pipeline.measuring.local import baseline_participant, reference_runner
from edgeseg.progress import SILENT

RunCli = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a network of few operators."""
    output = tmp_path_factory.mktemp("small") / "bundle"
    return build_bundle(BuildRequest("ulite", "onnxruntime", "fp32", output, size=(64, 64)))[
        0
    ].folder


def test_toolkits_are_named_with_their_interpreters() -> None:
    assert parse_toolkits([f"torch={sys.executable}"]) == {"torch": Path(sys.executable)}
    assert parse_toolkits([]) == {}


def test_a_toolkit_may_be_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python").symlink_to(sys.executable)
    # It is run in another folder; the link itself is what belongs to the environment.
    assert parse_toolkits(["torch=python"]) == {"torch": tmp_path / "python"}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("torch", "--toolkit torch has no interpreter. Give it as torch=PATH/bin/python."),
        ("torch=", "has no interpreter"),
        ("torch=nowhere/python", "There is no interpreter at nowhere/python for torch."),
    ],
)
def test_a_toolkit_without_interpreter_is_refused(word: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_toolkits([word])
    assert reason in str(raised.value)


def test_an_unknown_toolkit_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean executorch"):
        parse_toolkits([f"executorh={sys.executable}"])


@pytest.mark.slow
@needs("torch", "onnxruntime")
def test_a_toolkit_is_timed_beside_the_bundle_and_converted_once(
    small: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    words = ["bench", small, "--split", "val", "--images", 1, "--runs", 12]
    words += ["--toolkit", f"torch={sys.executable}", "--json", tmp_path / "bench.json"]
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "torch converts ulite" in done.stderr
    assert "ulite by torch" in done.stdout
    assert "ulite by torch does not compute" not in " ".join((done.stdout + done.stderr).split())
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    baseline, toolkit, own = rows
    assert (baseline["is_baseline"], toolkit["is_baseline"]) == (True, False)
    assert toolkit["target"] == "torch"
    assert toolkit["baseline"]["name"] == baseline["name"] == own["baseline"]["name"]
    assert toolkit["latency_ms"]["p50"] > 0
    assert toolkit["flips_per_10k"] == 0
    assert toolkit["accuracy"] == baseline["accuracy"]
    assert toolkit["toolkit"].startswith("run as torch.export wrote it (torch 2.")
    assert f"ulite by torch is {toolkit['toolkit']}." in done.stdout + done.stderr
    assert (baseline["toolkit"], own["toolkit"]) == ("", "")
    assert toolkit["artifact_bytes"] > 3_500_000
    assert "torch converts" not in run_cli(*words).stderr


def test_an_environment_tells_what_it_lacks() -> None:
    if is_installed("executorch"):
        pytest.skip("executorch is here")
    with pytest.raises(UsageError) as raised:
        open_environments({"executorch": Path(sys.executable)})
    assert str(raised.value) == (
        f"The interpreter {sys.executable} cannot run executorch, because it lacks executorch. "
        f"Install it there with: {sys.executable} -m pip install executorch torch numpy"
    )


def test_a_folder_beside_the_user_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_installed("executorch"):
        pytest.skip("executorch is here")
    (tmp_path / "executorch").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="it lacks executorch"):
        open_environments({"executorch": Path(sys.executable)})


def test_an_interpreter_that_does_not_run_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2; exit 3\n")
    broken.chmod(0o755)
    with pytest.raises(UsageError, match=r"of torch does not run: no such library\. Name the bin"):
        open_environments({"torch": broken})


def test_an_environment_describes_what_it_does() -> None:
    installed = {"Litert_Torch": "0.9", "ai-edge-litert": "2.1", "torch": "2.9", "numpy": "2.0"}
    environment = ToolkitEnvironment("litert-torch", Path("python"), installed)
    assert environment.describe() == (
        "converted by litert-torch from the program of torch.export "
        "(litert-torch 0.9, ai-edge-litert 2.1, torch 2.9)"
    )


def test_images_are_read_for_a_toolkit(tmp_path: Path) -> None:
    # The worker here labels what it gets; the toolkit's environment has nothing that reads images.
    inputs = find_model("egeunet").at_size(32, 32).inputs
    outputs = OutputContract(("background", "dark"), 1)
    image = tmp_path / "image.png"
    Image.fromarray(draw_pair((40, 56), seed=1)[0]).save(image)
    asked = []

    class FakeProcess(ToolkitProcess):
        def label_prepared(self, request: LabelPrepared) -> Done:
            prepared = np.load(request.images)
            asked.append(prepared)
            np.save(request.result, (prepared[:, 0, 0] > 0).astype(np.uint8))
            return Done()

    steps: list[int] = []
    result = tmp_path / "labels.npy"
    request = Label([str(image)] * 2, str(result), inputs.to_json(), outputs.to_json())
    FakeProcess("fake", [], 1).label(request, lambda: steps.append(1))
    expected = inputs.prepare(read_image(image))
    assert [prepared.shape for prepared in asked] == [(1, 1, 3, 32, 32)] * 2
    assert np.array_equal(asked[0][0], expected)
    assert np.array_equal(np.load(result), np.stack([expected[0, 0] > 0] * 2))
    assert len(steps) == 2


@pytest.fixture
def refusing_mnn(tmp_path: Path) -> Path:
    """An interpreter with an MNN whose converter prints a reason and writes nothing."""
    packages = tmp_path / "packages"
    (packages / "MNN").mkdir(parents=True)
    (packages / "MNN" / "__init__.py").touch()
    converter = "def mnnconvert(words):\n    print('These Op Not Support: Foo')\n    return True\n"
    (packages / "_tools.py").write_text(converter)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.slow
@needs("torch", "onnxruntime")
def test_a_toolkit_that_does_not_convert_is_told_of_below_the_table(
    small: Path, refusing_mnn: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    report = tmp_path / "report.json"
    words = ["bench", small, "--split", "val", "--images", 1, "--runs", 12, "--json-file", report]
    done = run_cli(*words, "--toolkit", f"mnn={refusing_mnn}")
    assert done.returncode == 0, done.stderr
    reason = (
        "mnn does not convert ulite: These Op Not Support: Foo RuntimeError: MNNConvert wrote no "
        "network. Leave its --toolkit out, or repair its environment."
    )
    record = json.loads(report.read_text())
    assert [row["target"] for row in record["rows"]] == ["onnxruntime", "onnxruntime"]
    assert record["failures"] == [
        {"name": "ulite by mnn", "model": "ulite", "target": "mnn", "reason": reason}
    ]
    printed = " ".join((done.stdout + done.stderr).split())
    assert f"Warning: ulite by mnn was not measured. {reason}" in printed


@pytest.mark.slow
@needs("torch", "onnxruntime")
@pytest.mark.parametrize("name", ["mnn", "ncnn"])
def test_a_real_toolkit_gives_the_masks_of_torch(name: str, tmp_path: Path) -> None:
    environments = open_environments({name: toolkit_python(name)})
    # Of the operators of EGE-UNet, converters have got some wrong.
    request = BuildRequest("egeunet", "onnxruntime", "fp32", tmp_path / "built", size=(128, 128))
    bundle, _ = build_bundle(request)
    settings = BenchSettings()
    baseline = baseline_participant(bundle, settings, SILENT)
    participants, failures = toolkit_participants(bundle, baseline, environments, settings, SILENT)
    assert failures == []
    (participant,) = participants
    pairs = open_split(None, "val").pairs[:3]
    images = np.stack([bundle.inputs.prepare(pair.read_image()) for pair in pairs])
    np.save(tmp_path / "images.npy", images)
    network = reference_runner(bundle).open()
    truth = np.stack([network.run(image)[0, 0] for image in images])
    # At the median half of the pixels are foreground, whatever the network finds at this size.
    threshold = float(np.median(truth))
    outputs = replace(bundle.outputs, threshold=threshold).to_json()
    result = tmp_path / "labels.npy"
    with participant.runner.open_worker(participant.name) as worker:
        worker.load()
        worker.label_prepared(LabelPrepared(str(tmp_path / "images.npy"), 3, outputs, str(result)))
    is_clear = abs(truth - threshold) > 0.005  # MNN approximates GELU
    assert is_clear.mean() > 0.9
    assert np.array_equal(np.load(result)[is_clear], (truth > threshold)[is_clear])


@pytest.mark.slow
@needs("torch", "onnxruntime")
def test_toolkits_and_devices_exclude_each_other(small: Path, run_cli: RunCli) -> None:
    words = ["--peer", f"torch={sys.executable}", "--device", "ssh://nobody@localhost"]
    done = run_cli("bench", small, *words)
    assert done.returncode == 2
    assert "--toolkit measures on this machine" in done.stderr
