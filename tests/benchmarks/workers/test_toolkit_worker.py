"""What the process of an external toolkit does itself, with a toolkit that is a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeseg.contract
from edgeseg.benchmarks.workers.messages import LabelPrepared
from edgeseg.benchmarks.workers.toolkit_worker import ToolkitWorker, convert, import_file
from edgeseg.benchmarks.workers.toolkits import Toolkit
from edgeseg.contract import OutputContract

CONTRACT = Path(edgeseg.contract.__file__)
OUTPUTS = OutputContract(("background", "dark"), 1)


class FakeToolkit(Toolkit):
    packages = {"numpy": "numpy"}  # noqa: RUF012
    modules = ("json",)
    how = "run by hand"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def convert(self, source: Path, folder: Path) -> None:
        (folder / "network").write_bytes(source.read_bytes())

    def open(self, folder: Path, threads: int) -> Callable[[Any], Any]:
        return self.function


class RefusingToolkit(FakeToolkit):
    def convert(self, source: Path, folder: Path) -> None:
        raise RuntimeError("nothing was written")


@pytest.fixture
def label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Label two prepared images with a function."""
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None, raising=False)
    images = np.random.default_rng(0).uniform(0, 1, (2, 1, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)

    def run(function: Callable[[Any], Any]) -> tuple[Any, Any]:
        worker = ToolkitWorker(FakeToolkit(function), tmp_path, 1, CONTRACT)
        worker.load()
        result = tmp_path / "labels.npy"
        request = LabelPrepared(str(tmp_path / "images.npy"), 2, OUTPUTS.to_json(), str(result))
        worker.label_prepared(request)
        return images, np.load(result)

    return run


def test_masks_become_label_maps_as_the_contract_says(label: Callable[..., Any]) -> None:
    images, labels = label(lambda image: image[:, :1])
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, images[:, 0, 0] >= OUTPUTS.threshold)


def test_a_mask_of_another_shape_is_refused(label: Callable[..., Any]) -> None:
    reason = r"the mask of image 0 has the shape \(1, 8, 8\) and not \(1, 1, 8, 8\)"
    with pytest.raises(ValueError, match=reason):
        label(lambda image: image[0, :1])


def test_a_mask_of_nan_is_refused(label: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="the mask of image 0 holds NaN or infinity"):
        label(lambda image: np.full_like(image[:, :1], np.nan))


def test_the_contract_is_read_by_itself() -> None:
    module = import_file(CONTRACT)
    assert module is not edgeseg.contract
    assert module is import_file(CONTRACT)
    assert "contract" not in sys.modules


def test_a_refusal_ends_the_process_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = []
    monkeypatch.setattr("os.dup2", lambda *streams: joined.append(streams))
    with pytest.raises(SystemExit, match="RuntimeError: nothing was written"):
        convert(RefusingToolkit(lambda image: image), tmp_path / "network.onnx", tmp_path)
    # What converters print is all that some of them say.
    assert joined == [(2, 1)]
