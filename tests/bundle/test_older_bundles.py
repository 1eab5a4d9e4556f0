"""Bundles of schema 2, which this version no longer writes, still serve in every command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import schema2
from PIL import Image
from support import needs

from edgeseg.bundle.bundle import manifest_text, open_bundle
from edgeseg.bundle.manifest import Manifest
from edgeseg.bundle.older_manifests import upgraded, upgraded_tuning
from edgeseg.data.folder import open_sample
from edgeseg.errors import BundleError, UsageError
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.builder.earlier_tuning import read_tuning_record
from edgeseg.pipeline.evaluator.local_evaluator import LocalEvaluator
from edgeseg.pipeline.verify import verify_bundle
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.explain import rows, summary

RunCli = Callable[..., "CompletedProcess[str]"]
REWRITES = (
    "pointwise-before-norm",
    "layer-norm-by-convolution",
    "concat-by-sum",
    "resize-maps-by-matrices",
    "thin-pointwise-by-product",
)
# Name of each bundle as schema 3 tells it, and its runtime.
# As reports of their time have them.
IDENTITIES = {"plan": "63f19abb09de", "auto": "0571eb777d22", "intel": "7ff26901618c"}
EXPECTED = {
    "plan": ("egeunet-onnxruntime-int8", "onnxruntime"),
    "auto": ("egeunet-onnxruntime-auto", "onnxruntime"),
    "intel": ("egeunet-intel-fp32", "openvino"),
}
RUNS_HERE = [
    pytest.param("plan", marks=needs("onnxruntime")),
    pytest.param("auto", marks=needs("onnxruntime")),
    pytest.param("intel", marks=needs("openvino")),
]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three bundles by name. Copy one to change it."""
    return schema2.unpack(tmp_path_factory.mktemp("schema2"))


@pytest.fixture
def placement(older: dict[str, Path], tmp_path: Path) -> Path:
    """JSON file with the placement record of the bundle that auto chose."""
    record = json.loads((older["auto"] / "manifest.json").read_text())["placement"]
    path = tmp_path / "placement.json"
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("name", schema2.NAMES)
def test_it_opens_and_its_files_are_checked(older: dict[str, Path], name: str) -> None:
    bundle = open_bundle(older[name])
    bundle.check_files()
    assert (bundle.name, bundle.manifest.runtime) == EXPECTED[name]
    assert bundle.manifest.schema_version == 3
    written = json.loads((older[name] / "manifest.json").read_text())
    assert bundle.short_identity == IDENTITIES[name]
    assert bundle.names_images
    assert dict(bundle.artifact.settings) == written["artifact"]["runtime"]
    assert [file.model_dump() for file in bundle.manifest.files] == written["files"]
    assert (bundle.manifest.tuning is None) == (written.get("placement") is None)


@pytest.mark.parametrize("name", schema2.NAMES)
def test_a_manifest_of_schema_3_reads_back_as_it_is(older: dict[str, Path], name: str) -> None:
    manifest = open_bundle(older[name]).manifest
    text = manifest_text(manifest)
    assert upgraded(json.loads(text)) == json.loads(text)
    again = Manifest.model_validate(json.loads(text))
    assert again == manifest
    assert manifest_text(again) == text


def test_a_changed_file_is_noticed(older: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(older["plan"], tmp_path / "plan")
    content = bytearray((folder / "artifact" / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "artifact" / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="Do not use it; copy the bundle again"):
        verify_bundle(folder)


@pytest.mark.parametrize("key", ["artifact", "target", "model"])
def test_one_that_lacks_a_field_is_refused(
    older: dict[str, Path], tmp_path: Path, key: str
) -> None:
    record = json.loads((older["auto"] / "manifest.json").read_text())
    del record[key]
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"does not follow the schema.*or build it anew"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", RUNS_HERE)
def test_it_replays_its_golden_pair(older: dict[str, Path], name: str) -> None:
    bundle, agreement, computed_by = verify_bundle(older[name])
    assert computed_by == EXPECTED[name][1]
    assert agreement.max_abs_diff <= bundle.manifest.golden.max_abs_diff


@pytest.mark.parametrize("name", RUNS_HERE)
def test_its_own_runner_replays_it_too(older: dict[str, Path], name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-B", older[name] / "runner" / "run.py", "--verify"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: largest difference ")


@pytest.mark.parametrize("name", RUNS_HERE)
def test_predict_gives_the_mask_of_its_own_runner(
    older: dict[str, Path], tmp_path: Path, run_cli: RunCli, name: str
) -> None:
    pair = open_sample(["test"])[0]
    done = run_cli("predict", older[name], pair.image_path, "-o", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "masks" / f"{pair.name}.png"))
    assert mask.shape == pair.read_image().shape[:2]
    np.save(tmp_path / "image.npy", pair.read_image())
    command = [sys.executable, "-B", older[name] / "runner" / "run.py", tmp_path / "image.npy"]
    subprocess.run([*command, "--output", tmp_path / "labels.npy"], check=True)
    labels = np.load(tmp_path / "labels.npy")
    assert 0.02 < labels.mean() < 0.98
    assert ((mask == 255) == (labels == 1)).all()


def test_its_plan_is_shown(older: dict[str, Path], run_cli: RunCli) -> None:
    done = run_cli("plan", "show", older["plan"])
    assert done.returncode == 0, done.stderr
    assert "percentile: " in done.stdout
    shown = [line.replace("│", " ").split() for line in done.stdout.splitlines()]
    (row,) = [words for words in shown if words[:1] == ["add_11"]]
    # 4.5385 over 127 steps.
    assert row[:3] == ["add_11", "4.53852", "0.0357"]


@needs("torch", "onnxruntime", "onnx", "onnxscript")
@pytest.mark.slow
def test_bench_measures_it_and_keeps_its_schema(
    older: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    folders = [shutil.copytree(older[name], tmp_path / name) for name in ("plan", "auto")]
    before = {folder: json.loads((folder / "manifest.json").read_text()) for folder in folders}
    words = ("--split", "val", "--images", 1, "--runs", 1, "--record")
    done = run_cli("bench", *folders, *words, "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [row["name"] for row in measured][1:] == [EXPECTED["plan"][0], EXPECTED["auto"][0]]
    assert measured[2]["candidate"]["rewrites"] == list(REWRITES)
    for folder in folders:
        # Its runner reads schema 2, and nothing else.
        record = json.loads((folder / "manifest.json").read_text())
        (row,) = record.pop("measurements")
        assert row["latency_ms"]["p50"] > 0
        assert {**record, "measurements": []} == before[folder]
        open_bundle(folder).check_files()


def test_rows_are_added_to_it_as_it_is(older: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(older["intel"], tmp_path / "intel")
    before = json.loads((folder / "manifest.json").read_text())
    row = {"latency_ms": 1.5, "environment": {"cpu": "by hand"}}
    bundle = open_bundle(folder).with_measurements([row])
    assert bundle.manifest.measurements == (row,)
    after = json.loads((folder / "manifest.json").read_text())
    assert after == {**before, "measurements": [row]}


def test_its_placement_reads_as_a_tuning(older: dict[str, Path], placement: Path) -> None:
    tuning = read_tuning_record(older["auto"])
    assert read_tuning_record(placement) == tuning
    assert tuning.candidate["rewrites"] == list(REWRITES)
    assert tuning.candidate["variant"] == ""
    assert tuning.identity["runtime"] == "onnxruntime"
    assert tuning.constraints.max_change == {"dice_pooled": 0.005, "hd95_px": 0.02}
    assert tuning.constraints.min_agreement is None
    assert tuning.changes == {"dice_pooled": 0.0, "hd95_px": 0.0}
    changes = [trial.changes["dice_pooled"] for trial in tuning.trials if trial.changes]
    assert changes == [0.0, 0.0, -0.0033239280984176944]
    assert tuning.violation == ""
    for row in (*tuning.trials, *tuning.final):
        assert Candidate.from_json(row.candidate).to_json() == row.candidate
    assert [row[-1].split(":")[0] for row in rows(tuning)][:2] == ["leads", "leads"]
    assert summary(tuning)[0].startswith("Chosen: fp32, 5 rewrites. 1.08 (1.04..1.09) times")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("trials"),
        lambda record: record.update(trials=[None]),
        lambda record: record.update(trials=["choice"]),
        lambda record: record.update(choice=3),
        lambda record: record.update(identity=None),
        lambda record: record["identity"].pop("target"),
    ],
)
def test_a_damaged_placement_is_refused(
    placement: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    record = json.loads(placement.read_text())
    change(record)
    placement.write_text(json.dumps(record))
    with pytest.raises(
        UsageError, match=r"holds no tuning \(.*\)\. Name a bundle that was built with"
    ):
        read_tuning_record(placement)


def test_a_tuning_of_today_comes_back_as_it_is(older: dict[str, Path]) -> None:
    record = open_bundle(older["auto"]).manifest.tuning
    assert record is not None
    assert upgraded_tuning(record.model_dump(mode="json")) == record.model_dump(mode="json")


@needs("torch", "onnx", "onnxscript", "onnxruntime")
@pytest.mark.slow
def test_its_placement_is_built_again_without_measuring(
    older: dict[str, Path], placement: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise AssertionError("something is measured")

    monkeypatch.setattr(LocalEvaluator, "_participant", fail)
    before = open_bundle(older["auto"]).manifest
    for number, source in enumerate((older["auto"], placement)):
        request = BuildRequest(
            "egeunet",
            "onnxruntime",
            "auto",
            tmp_path / str(number),
            size=(64, 64),
            calibration_images=4,
            tuning=source,
        )
        bundle, _ = build_bundle(request)
        assert bundle.manifest.lowering == before.lowering
        assert bundle.manifest.tuning == before.tuning


@pytest.mark.parametrize("flag", ["--tuning", "--placement"])
def test_both_names_of_the_option_take_it(
    placement: Path, tmp_path: Path, run_cli: RunCli, flag: str
) -> None:
    # Another size: refused after the record was read, before anything is built.
    words = ("build", "-m", "egeunet", "-t", "onnxruntime", "--size", "32x32")
    done = run_cli(*words, flag, placement, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert f"The tuning in {placement} is for another model" in done.stderr
    assert not (tmp_path / "out").exists()
