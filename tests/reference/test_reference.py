from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import draw_pair, needs

from edgeseg.data.folder import Pair
from edgeseg.errors import MissingBackendError, ParityError, UsageError
from edgeseg.models import find_model
from edgeseg.records import sha256_of_file
from edgeseg.reference.reference import (
    ONNX_TOLERANCE,
    ReferenceImages,
    export_checked,
    onnx_predictor,
    open_torch,
    reference_images,
    torch_predictor,
)
from edgeseg.reference.torch_reference import TorchReference

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")

SPEC = find_model("egeunet").at_size(64, 64)


class Recorder:
    """Progress that keeps the titles of the stages."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Recorder]:
        self.titles.append(title)
        yield self

    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    pairs = []
    for index in range(3):
        path = tmp_path / f"disc{index}.png"
        Image.fromarray(draw_pair((50, 70), seed=index)[0]).save(path)
        pairs.append(Pair(path.stem, path, None))
    return pairs


@pytest.fixture
def references(pairs: list[Pair], random_weights: Path) -> ReferenceImages:
    return reference_images(SPEC.load_network(random_weights), SPEC, pairs)


def test_references_are_prepared_images_and_torch_masks(
    pairs: list[Pair], references: ReferenceImages, random_weights: Path
) -> None:
    assert references.names == ("disc0", "disc1", "disc2")
    assert all(image.shape == (1, 3, 64, 64) for image in references.inputs)
    predict = torch_predictor(SPEC.load_network(random_weights))
    image = SPEC.inputs.prepare(pairs[2].read_image())
    assert np.array_equal(references.inputs[2], image)
    assert np.array_equal(references.masks[2], predict(image))


def test_same_network_agrees_with_itself(references: ReferenceImages) -> None:
    answers = {image.tobytes(): mask for image, mask in _pairs_of(references)}
    agreement = references.compare(lambda image: answers[image.tobytes()], SPEC.outputs, "The same")
    assert (agreement.images, agreement.max_abs_diff, agreement.flips_per_10k) == (3, 0, 0)


def _pairs_of(references: ReferenceImages) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(references.inputs, references.masks, strict=True))


def test_graph_agrees_with_torch(small_onnx: Path, references: ReferenceImages) -> None:
    predict = onnx_predictor(small_onnx, SPEC.outputs, SPEC.inputs)
    agreement = references.compare(predict, SPEC.outputs, "The ONNX graph")
    assert agreement.images == 3
    assert 0 < agreement.max_abs_diff <= ONNX_TOLERANCE


def test_second_export_comes_from_the_cache_and_is_checked(
    small_onnx: Path, references: ReferenceImages, random_weights: Path
) -> None:
    progress = Recorder()
    exported = export_checked(
        TorchReference(SPEC.load_network(random_weights), SPEC),
        SPEC,
        sha256_of_file(random_weights),
        lambda: references,
        progress=progress,
    )
    assert exported.path == small_onnx
    assert progress.titles == ["check ONNX against the FP32 reference"]
    assert exported.agreement.images == 3


def test_graph_that_differs_is_refused_with_the_numbers(
    light_onnx: Path, pairs: list[Pair]
) -> None:
    spec = find_model("ulite").at_size(64, 64)
    weights = spec.resolve_weights(None)
    network = spec.load_network(weights)
    right = reference_images(network, spec, pairs)
    masks = list(right.masks)
    masks[1] = masks[1].copy()
    masks[1][0, 0, 3, 4] += 0.25
    wrong = replace(right, masks=tuple(masks))
    with pytest.raises(ParityError) as caught:
        export_checked(TorchReference(network, spec), spec, sha256_of_file(weights), lambda: wrong)
    message = str(caught.value)
    for words in (
        "The ONNX graph does not compute what the FP32 reference computes",
        "largest difference 2.50e-01",
        "of 10,000 pixels flip",
        "worst image disc1",
        "allowed is 1e-04",
        "Report it as a bug, with the model",
    ):
        assert words in message
    assert light_onnx.exists()  # other commands may be at work with it


def test_a_kept_graph_of_another_network_is_exported_anew(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network may read what the key of its graph does not know, a file for example."""
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    spec = find_model("ulite").at_size(64, 64)
    weights = spec.resolve_weights(None)
    changed, network = spec.load_network(weights), spec.load_network(weights)
    changed.conv_out.bias.data += 0.05
    wrong, right = (reference_images(one, spec, pairs) for one in (changed, network))
    export_checked(TorchReference(changed, spec), spec, sha256_of_file(weights), lambda: wrong)
    progress = Recorder()
    exported = export_checked(
        TorchReference(network, spec),
        spec,
        sha256_of_file(weights),
        lambda: right,
        progress=progress,
    )
    assert exported.agreement.images == 3
    assert progress.titles.count("export to ONNX") == 1


def test_missing_runtime_names_the_install_command(
    small_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[export\]'"):
        onnx_predictor(small_onnx, SPEC.outputs, SPEC.inputs)


def test_open_torch_answers_as_the_network(
    random_weights: Path, references: ReferenceImages
) -> None:
    runner = open_torch(SPEC.to_json(), str(random_weights))
    assert np.array_equal(runner.run(references.inputs[0]), references.masks[0])


def test_open_torch_runs_nothing_but_networks(random_weights: Path, tmp_path: Path) -> None:
    """The record may come from a bundle that somebody sent."""
    mark = tmp_path / "was_run"
    record = SPEC.to_json() | {"place": "os:mkdir", "arguments": {"path": str(mark)}}
    with pytest.raises(UsageError, match=r"os:mkdir is no torch\.nn\.Module"):
        open_torch(record, str(random_weights))
    assert not mark.exists()
