"""The Python interface: the same requests as the command line, and nothing heavy at import."""

from __future__ import annotations

import dataclasses
import inspect
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import ROOT, draw_pair, needs

import edgeseg
from edgeseg.errors import BundleError, DataError, UnknownNameError, UsageError
from edgeseg.pipeline.bench import BenchRequest
from edgeseg.pipeline.builder.request import BuildRequest

HEAVY = ("torch", "onnx", "numpy", "PIL", "pydantic", "openvino", "onnxruntime", "typer", "rich")


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    script = f"""
import sys
import edgeseg
print(edgeseg.build.__name__, edgeseg.load.__name__, edgeseg.bench.__name__)
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines() == ["build load bench", "[]"]


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    signature = inspect.signature(function)
    return {name: value.default for name, value in signature.parameters.items()}


def test_build_takes_what_the_request_has() -> None:
    taken = parameters(edgeseg.build)
    del taken["progress"]
    fields = {field.name: field for field in dataclasses.fields(BuildRequest)}
    assert taken.keys() == fields.keys()
    for name, default in taken.items():
        if fields[name].default_factory is dataclasses.MISSING:
            expected = fields[name].default
            assert default == (
                inspect.Parameter.empty if expected is dataclasses.MISSING else expected
            )


def test_bench_takes_what_the_request_has() -> None:
    taken = parameters(edgeseg.bench)
    taken["splits"] = taken.pop("split")
    fields = {field.name: field.default for field in dataclasses.fields(BenchRequest)}
    assert taken.keys() - {"progress"} == fields.keys() - {"record"}
    for name in ("splits", "images", "threads", "runs", "baseline", "device"):
        assert taken[name] == fields[name]


@pytest.mark.parametrize("command", ["build", "bench", "evaluate", "train", "distill"])
def test_each_function_has_its_command(command: str) -> None:
    assert callable(getattr(edgeseg, command))
    assert f"edgeseg {command}" in (getattr(edgeseg, command).__doc__ or "")


@needs("torch", "onnx", "onnxruntime")
def test_a_bundle_predicts_what_the_command_line_writes(
    small_bundles: dict[str, Path], tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    pixels, _ = draw_pair((50, 70), seed=3)
    path = tmp_path / "disc.png"
    Image.fromarray(pixels).save(path)
    bundle = edgeseg.load(small_bundles["fp32"])
    mask = bundle.predict(path)
    assert mask.shape == (50, 70)
    assert np.array_equal(bundle.predict(pixels), mask)
    assert bundle.classes[0] == "background"
    assert run_cli("predict", bundle.folder, path, "-o", tmp_path / "masks").returncode == 0
    written = np.asarray(Image.open(tmp_path / "masks" / "disc.png"))
    assert np.array_equal(written, mask * 255)


@needs("torch", "onnx", "onnxruntime")
def test_threads_share_a_bundle(small_bundles: dict[str, Path]) -> None:
    bundle = edgeseg.load(small_bundles["fp32"])
    images = [draw_pair((64, 64), seed=seed)[0] for seed in range(4)]
    alone = [bundle.predict(image) for image in images]
    together: dict[int, Any] = {}

    def predict(index: int) -> None:
        for _ in range(5):
            together[index] = bundle.predict(images[index])

    threads = [threading.Thread(target=predict, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(together[index], alone[index]) for index in range(4))


@needs("torch", "onnx", "onnxruntime")
def test_verify_and_overlay(small_bundles: dict[str, Path]) -> None:
    bundle = edgeseg.load(small_bundles["fp32"])
    assert bundle.verify().flips_per_10k == 0
    picture = bundle.overlay(draw_pair((2000, 1000), seed=1)[0])
    assert picture.size == (512, 1024)
    assert "egeunet-onnxruntime-fp32" in repr(bundle)


@needs("torch", "onnx", "onnxruntime")
@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None])
def test_an_image_of_another_kind_is_refused(small_bundles: dict[str, Path], image: Any) -> None:
    with pytest.raises(DataError, match=r"must be RGB.*Name its file instead, or convert it"):
        edgeseg.load(small_bundles["fp32"]).predict(image)


def test_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Make one with edgeseg build"):
        edgeseg.load(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean intel"):
        edgeseg.build("egeunet", "intle")
    with pytest.raises(UsageError, match="Name at least one"):
        edgeseg.bench([])
    with pytest.raises(UsageError, match="Check --data"):
        edgeseg.evaluate("egeunet", data=tmp_path / "gone", progress=False)


@needs("torch", "onnx", "onnxruntime")
def test_report_becomes_a_data_frame(small_bundles: dict[str, Path]) -> None:
    pytest.importorskip("pandas")
    report = edgeseg.bench(
        [small_bundles["fp32"]], split=("val",), images=2, runs=4, progress=False
    )
    table = report.to_pandas()
    assert list(table.index) == [row["name"] for row in report.rows]
    assert table.loc["egeunet-onnxruntime-fp32", "latency_ms.p50"] > 0


@needs("torch", "onnx", "onnxruntime", "openvino")
@pytest.mark.slow
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(os.fspath(ROOT / "examples" / "quickstart.py"))
    assert Image.open(tmp_path / "overlay.png").size[0] > 0


def test_a_name_alone_stands_for_a_list_of_one(small_bundles: dict[str, Path]) -> None:
    folder = small_bundles["fp32"]
    report = edgeseg.bench(str(folder), split="val", images=1, runs=2, progress=False)
    assert report.data["splits"] == ["val"]
    assert report.rows[-1]["key"] == str(folder)
    with pytest.raises(UsageError, match="No weights file at is_there"):
        edgeseg.distill("ulite", "egeunet", "data", teacher_weights="is_there")


@pytest.mark.parametrize("size", ["64x64", (64,), (64.0, 64.0), 64])
def test_a_size_is_two_whole_numbers(tmp_path: Path, size: Any) -> None:
    for call in (
        lambda: edgeseg.build("egeunet", "onnxruntime", "fp32", tmp_path / "a", size=size),
        lambda: edgeseg.evaluate("egeunet", size=size),
        lambda: edgeseg.train("egeunet", tmp_path, size=size),
    ):
        with pytest.raises(UsageError, match=r"not \(height, width\).*size=\(256, 256\)"):
            call()
