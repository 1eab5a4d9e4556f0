"""`--precision auto` on a real runtime and machine: what holds whatever is fastest there."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest
from support import needs

from edgeseg.bundle.bundle import Bundle, open_bundle
from edgeseg.errors import TargetError, UsageError
from edgeseg.pipeline import auto
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.builder.earlier_tuning import read_tuning_record
from edgeseg.pipeline.builder.request import default_precision
from edgeseg.pipeline.evaluator.local_evaluator import LocalEvaluator
from edgeseg.targets import find_runtime
from edgeseg.targets.devices import find_device
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.explain import rows, summary, titles

RunCli = Callable[..., "CompletedProcess[str]"]
pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")


def request_for(output: Path, **changes: object) -> BuildRequest:
    request = BuildRequest("ulite", "onnxruntime", "auto", output)
    settings = {"size": (64, 64), "calibration_images": 4, "search_seconds": 0.0}
    return replace(request, **{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build_bundle(request_for(tmp_path_factory.mktemp("auto") / "bundle"))[0]


@pytest.fixture
def no_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be made or measured."""

    def fail(*arguments: object, **settings: object) -> None:
        raise AssertionError("something is measured")

    monkeypatch.setattr(LocalEvaluator, "_participant", fail)


def artifact_of(bundle: Bundle) -> list[bytes]:
    return [(bundle.folder / name).read_bytes() for name in bundle.manifest.artifact.files]


@pytest.mark.slow
def test_a_bundle_says_how_it_was_chosen(automatic: Bundle) -> None:
    automatic.check_files()
    manifest, tuning = automatic.manifest, automatic.manifest.tuning
    assert tuning is not None
    assert (manifest.precision, automatic.name) == ("auto", "ulite-onnxruntime-auto")
    assert manifest.checks["artifact"].max_abs_diff <= 0.2
    names = [trial.candidate for trial in tuning.trials]
    fixed = [candidate["precision"] for candidate in names if not candidate["variant"]]
    assert {"fp32", "int8"} <= set(fixed)
    for trial in tuning.trials:
        assert (trial.verdict == "refused") == bool(trial.reason)
        if trial.speedup is not None:
            assert trial.speedup_ci95 is not None
            assert trial.speedup_ci95[0] <= trial.speedup <= trial.speedup_ci95[1]
            assert trial.artifact_bytes is not None
            assert trial.artifact_bytes <= tuning.plain["artifact_bytes"]
    assert tuning.images == {
        "folder": "isic2016_cc0",
        "splits": ["val"],
        "search": 11,
        "final": 11,
        "labelled": True,
    }
    assert tuning.constraints.max_change["dice_pooled"] == 0.005
    assert tuning.constraints.min_agreement is None
    masks = {"flips", "worst_flips", "worst_dice"}
    assert tuning.changes.keys() == tuning.constraints.max_change.keys() - masks
    assert tuning.changes["dice_pooled"] >= -0.005
    assert tuning.limits == manifest.limits
    assert tuning.limits is not None
    assert (tuning.limits.state, tuning.limits.labelled) == ("holds", 11)
    whole = [one for one in tuning.limits.verdicts if not one.part]
    assert {one.metric for one in whole} == tuning.constraints.max_change.keys()
    for trial in tuning.trials:
        assert trial.verdict != "leads" or trial.limits == "holds"
    assert any(one.candidate == tuning.candidate for one in tuning.final)


@pytest.mark.slow
def test_the_bundle_can_be_built_again_without_measuring(
    automatic: Bundle, own_cache: Path, tmp_path: Path, no_evaluator: None
) -> None:
    assert automatic.manifest.tuning is not None
    record = tmp_path / "tuning.json"
    record.write_text(automatic.manifest.tuning.model_dump_json())
    for use_cache, source in ((True, automatic.folder), (False, record)):
        request = request_for(tmp_path / str(use_cache), tuning=source, use_cache=use_cache)
        again, was_cached = build_bundle(request)
        assert not was_cached
        assert artifact_of(again) == artifact_of(automatic)
        assert again.manifest.files == automatic.manifest.files
        assert again.manifest.tuning == automatic.manifest.tuning
        assert again.manifest.artifact == automatic.manifest.artifact


@pytest.mark.slow
def test_an_equal_search_measures_nothing(
    automatic: Bundle, tmp_path: Path, no_evaluator: None
) -> None:
    bundle, was_cached = build_bundle(request_for(tmp_path / "again"))
    assert was_cached
    assert bundle.manifest == automatic.manifest


@pytest.mark.slow
def test_explain_gives_each_candidate_its_reason(automatic: Bundle) -> None:
    tuning = automatic.manifest.tuning
    assert tuning is not None
    for row in rows(tuning):
        assert len(row) == len(titles(tuning))
        assert row[-1].startswith(("leads: ", "refused: ")) or " times as fast as " in row[-1]
    text = summary(tuning)
    assert text[0].startswith("Chosen: ")
    assert any(line.startswith("INT8 is") for line in text)


@pytest.mark.slow
def test_bench_says_auto_and_what_it_consists_of(
    automatic: Bundle, tmp_path: Path, run_cli: RunCli
) -> None:
    import json

    words = ("bench", automatic.folder, "--split", "val", "--runs", 1, "--images", 1)
    done = run_cli(*words, "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    baseline, row = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert (baseline["precision"], baseline["candidate"]) == ("fp32", None)
    assert row["precision"] == "auto"
    assert automatic.manifest.tuning is not None
    assert row["candidate"] == automatic.manifest.tuning.candidate
    assert row["speedup"] > 0
    assert "ulite-onnxruntime-auto is " in done.stderr


@pytest.mark.slow
def test_a_tuning_is_for_one_network_only(automatic: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is for another model\. Build with the same --model"):
        build_bundle(request_for(tmp_path / "out", tuning=automatic.folder, size=(32, 32)))
    fewer = request_for(tmp_path / "out", tuning=automatic.folder, calibration_images=2)
    with pytest.raises(UsageError, match="is for another calibration"):
        build_bundle(fewer)
    assert not (tmp_path / "out").exists()


def test_a_runtime_with_a_fallback_is_not_measured() -> None:
    with pytest.raises(TargetError, match=r"does not run on this machine.*Name a precision: fp32"):
        auto.require_measurable(find_device("jetson"), find_runtime("tensorrt"))


def test_a_device_measures_what_this_machine_cannot() -> None:
    jetson = find_device("jetson")
    auto.require_measurable(jetson, find_runtime("tensorrt"), on_device=True)
    with pytest.raises(TargetError, match=r"or name a device with --device"):
        auto.require_measurable(jetson, find_runtime("tensorrt"))
    with pytest.raises(TargetError, match="Name a precision"):
        auto.require_measurable(find_device("web"), find_runtime("native"), on_device=True)
    assert default_precision("jetson", on_device=True) == "auto"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("-p", "fp32", "--explain"), "Add --precision auto"),
        (("-p", "fp32", "--tuning", "here"), "Leave one of them out"),
        (
            ("-p", "int8", "--max-dice-drop", "0.001"),
            "--max-dice-drop limits what --precision auto",
        ),
        (("--tuning", "here", "--min-agreement", "0.9"), "--min-agreement decides a search"),
        (("--tuning", "here", "--method", "nonsense"), "--method decides a search"),
        (("-p", "auto", "--search-seconds", "nan"), "--search-seconds nan is no time"),
        (("-p", "auto", "--tuning", "nowhere.json"), "nowhere.json holds no tuning"),
        (("-p", "auto", "--max-dice-drop", "2"), "--max-dice-drop 2 is not between 0 and 1"),
        (("-p", "auto", "--max-dice-drop", "few"), "--max-dice-drop few is no number. Write"),
        (("-p", "auto", "--max-flips", "-3"), "--max-flips -3 is not between 0 and 10000"),
        (
            ("-p", "int8", "--max-worst-flips", "9"),
            "--max-worst-flips limits what",
        ),
        (("-p", "int8", "--accept-uncertain"), "--accept-uncertain limits what --precision auto"),
        (
            ("-p", "auto", "--max-flips", "9", "--max-change", "flips=9"),
            "--max-change flips and --max-flips limit the same metric",
        ),
        (
            ("-p", "auto", "--max-flips", "9", "--min-agreement", "0.9"),
            "limit the same pixels. Give one of them.",
        ),
        (("-p", "auto", "--search-seconds", "-1"), "--search-seconds"),
        (("-p", "auto", "-t", "jetson"), "Name a precision: fp32"),
        (("-t", "all", "--tuning", "here"), "belong to one target"),
    ],
)
def test_auto_refuses_what_it_cannot_do(
    tmp_path: Path, run_cli: RunCli, words: tuple[str, ...], advice: str
) -> None:
    target = () if "-t" in words else ("-t", "onnxruntime")
    size = ("--size", "64x64", "--calibration-images", 4)
    done = run_cli("build", "-m", "egeunet", *target, *size, "-o", tmp_path / "out", *words)
    assert done.returncode in (1, 2)
    assert advice in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_one_precision_has_no_tuning(small_bundles: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="was not built with --precision auto"):
        read_tuning_record(small_bundles["fp32"])


def test_images_without_a_mask_count_for_flips(
    make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from edgeseg.pipeline.builder.context import BuildContext
    from edgeseg.pipeline.evaluator.validation import ValidationSet
    from edgeseg.progress import SILENT

    data = make_data_folder(4)
    (data / "val.txt").write_text("pair0\npair1\npair2")
    (data / "train.txt").write_text("pair3")
    context = BuildContext(request_for(tmp_path, data=data), SILENT)
    whole = ValidationSet(context, tmp_path, SILENT)
    assert len(whole.labelled) == 3
    identity = whole.identity()
    next((data / "masks").glob("pair1.*")).unlink()
    (tmp_path / "part").mkdir()
    part = ValidationSet(context, tmp_path / "part", SILENT)
    names = [part.dataset.pairs[place].name for place in part.labelled]
    assert sorted(names) == ["pair0", "pair2"]
    assert part.identity() != identity
    all_images = [one for one in part.compare(part.reference_labels).findings if not one.part]
    assert {one.name: one.images for one in all_images if one.name != "hd95_px"} == {
        "flips": 3,
        "dice_pooled": 2,
        "worst_flips": 3,
        "worst_dice": 2,
    }


def test_a_process_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    from edgeseg.benchmarks.process import WorkerProcess
    from edgeseg.errors import WorkerKilledError

    class Brief(LocalEvaluator):
        """Its processes do nothing."""

        def __init__(self) -> None:
            super().__init__(None, None, None, tmp_path)  # type: ignore[arg-type]

        def _make(self, candidate: Candidate | None) -> Any:
            return SimpleNamespace(artifact=None)

        def _start(self, candidate: Candidate | None, artifact: Any, stack: Any) -> Any:
            sleeper = [sys.executable, "-c", "input()"]
            worker = stack.enter_context(WorkerProcess("sleeper", sleeper, 1))
            return SimpleNamespace(worker=worker)

    with Brief() as evaluator:
        first = evaluator._participant(None).worker
        assert evaluator._participant(None).worker is first
        os.kill(first._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerKilledError, match="SIGKILL"):
            first.time(1)
        assert evaluator._participant(None).worker is not first


def test_the_default_is_auto_where_it_can_be_measured() -> None:
    from edgeseg.pipeline.builder.request import default_precision

    assert default_precision("intel") == "auto"
    assert default_precision("jetson") == "int8"
    assert default_precision("web") == "fp32"


def test_what_is_fastest_in_a_browser_is_not_measured_here() -> None:
    for runtime in find_device("web").runtimes:
        with pytest.raises(TargetError, match=r"for web .*browser\)\. Name a pre"):
            auto.require_measurable(find_device("web"), find_runtime(runtime))
    with pytest.raises(TargetError, match=r"Name one: native, litert, onnxruntime\."):
        build_bundle(BuildRequest("egeunet", "web", runtime="auto", precision="fp32"))


@pytest.mark.slow
def test_a_folder_that_is_copied_keeps_its_tuning(automatic: Bundle, tmp_path: Path) -> None:
    copied = shutil.copytree(automatic.folder, tmp_path / "copied")
    assert open_bundle(copied).manifest.tuning == automatic.manifest.tuning


@pytest.mark.parametrize(
    ("asked", "tries_others"),
    [({}, True), ({"method": "mse"}, False), ({"method_options": {"results": "false"}}, False)],
)
def test_what_was_asked_for_is_not_calibrated_otherwise(
    asked: dict[str, Any], tries_others: bool
) -> None:
    request = request_for(Path("unused"), **asked)
    context = SimpleNamespace(request=request, runtime=find_runtime("onnxruntime"))
    assert bool(auto._other_calibrators(context)) == tries_others  # type: ignore[arg-type]
