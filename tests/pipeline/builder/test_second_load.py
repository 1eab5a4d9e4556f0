"""An artefact that answers otherwise in another process is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.contract import OutputContract
from edgeseg.errors import BenchmarkError, ParityError
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.builder import second_load
from edgeseg.pipeline.builder.second_load import require_repeated, require_sound_bundle
from edgeseg.tuning.candidate import Candidate

OUTPUTS = OutputContract(("background", "lesion"), 1, 0.5)


def masks_of(*values: float) -> list[NDArray[np.float32]]:
    return [np.full((1, 1, 2, 2), value, np.float32) for value in values]


def test_equal_masks_pass_and_others_are_told_in_numbers() -> None:
    require_repeated(masks_of(0.4, 0.6), masks_of(0.4, 0.6), OUTPUTS, "It")
    with pytest.raises(ParityError, match=r"2\.0e-01, and 5000\.00 of 10,000 .* --precision"):
        require_repeated(masks_of(0.4, 0.6), masks_of(0.6, 0.6), OUTPUTS, "It")


@pytest.mark.parametrize("other", [masks_of(0.4, float("nan")), masks_of(0.4)])
def test_nan_and_another_number_of_masks_are_refused(other: list[NDArray[np.float32]]) -> None:
    with pytest.raises(ParityError, match="each time that it is loaded"):
        require_repeated(masks_of(0.4, 0.6), other, OUTPUTS, "It")


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_a_finished_bundle_gives_the_same_in_another_process(
    small_bundles: dict[str, Path], second_process: None, tmp_path: Path
) -> None:
    bundle = open_bundle(shutil.copytree(small_bundles["fp32"], tmp_path / "bundle"))
    image = bundle.inputs.prepare(bundle.golden_pair()[0])
    first = second_load.predict_in_new_process(bundle.artifact, [image], "bundle")
    require_sound_bundle(bundle, [image], first)
    with pytest.raises(ParityError, match="each time that it is loaded"):
        require_sound_bundle(bundle, [image], [1 - first[0]])
    with pytest.raises(ParityError, match="first check image"):
        require_sound_bundle(bundle, [image / 2], _again(bundle, image / 2))
    (bundle.folder / bundle.manifest.artifact.files[0]).write_bytes(b"")
    with pytest.raises(BenchmarkError, match=r"fp32 failed: .* does not load"):
        require_sound_bundle(bundle, [image], first)


def _again(bundle: Any, image: NDArray[np.float32]) -> second_load.Masks:
    return second_load.predict_in_new_process(bundle.artifact, [image], "bundle")


def nudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every second load give something else."""

    def predict(artifact: object, inputs: Sequence[Any], name: str) -> list[NDArray[np.float32]]:
        return masks_of(*[0.5] * len(inputs))

    monkeypatch.setattr(second_load, "predict_in_new_process", predict)


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_a_build_that_cannot_be_repeated_leaves_nothing(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudged(monkeypatch)
    request = BuildRequest("egeunet", "onnxruntime", "fp32", tmp_path / "bundle", use_cache=False)
    with pytest.raises(ParityError, match="fp32 artefact for onnxruntime gives other masks"):
        build_bundle(request)
    assert not (tmp_path / "bundle").exists()


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_a_search_refuses_a_candidate_that_cannot_be_repeated(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.pipeline.builder.builder import Builder
    from edgeseg.pipeline.builder.context import BuildContext
    from edgeseg.pipeline.evaluator import local_evaluator
    from edgeseg.pipeline.evaluator.validation import ValidationSet
    from edgeseg.progress import SILENT

    request = BuildRequest("egeunet", "onnxruntime", "auto", tmp_path / "bundle")
    context = BuildContext(request, SILENT)
    validation = ValidationSet(context, tmp_path, SILENT)
    builder = Builder(context, tmp_path / "work")
    with local_evaluator.LocalEvaluator(context, builder, validation, tmp_path / "own") as bench:
        assert bench.evaluate(Candidate("fp32")).refusal == ""
        monkeypatch.setattr(
            local_evaluator, "ask_worker", lambda worker, inputs: masks_of(*[0.5] * len(inputs))
        )
        assert "each time that it is loaded" in bench.evaluate(Candidate("fp32")).refusal
