"""The runner of `jetson` and `rtx`. No GPU is at hand: tensorrt and cuda are stand-ins in fakes/,
which show that the calls fit together and that refusals say why, not that TensorRT takes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_jetson import FAKES_PYCUDA, FILES, load, make_plan, take_out, write_plan
from numpy.typing import NDArray

from edgeseg.targets.runners import tensorrt_backend
from edgeseg.targets.runners.tensorrt_backend import (
    ENGINE_FILE,
    RECORD_FILE,
    Backend,
    describe_content,
    engine_folder,
    missing_reason,
    open_cuda,
    write_whole,
)


def engine_place(folder: Path) -> Path:
    return engine_folder(json.loads((folder / FILES[0]).read_text()))


def asked(folder: Path) -> dict[str, Any]:
    """What the builder was asked for, as the stand-in's engine says."""
    content = (engine_place(folder) / ENGINE_FILE).read_bytes()
    record: dict[str, Any] = json.loads(content.partition(b" ")[2])
    return record


# Building and running


@pytest.mark.usefixtures("device")
def test_engine_is_built_and_runs(bundle: Path, image: NDArray[np.float32]) -> None:
    mask = load(bundle).run(image)
    assert mask.dtype == np.float32
    assert np.array_equal(mask, (image[:, :1] > 127).astype(np.float32))


@pytest.mark.usefixtures("device")
def test_image_that_is_not_contiguous_is_copied_right(
    bundle: Path, image: NDArray[np.float32]
) -> None:
    flipped = image[:, :, ::-1]
    mask = load(bundle).run(flipped)
    assert np.array_equal(mask, (flipped[:, :1] > 127).astype(np.float32))


@pytest.mark.usefixtures("device")
def test_answers_do_not_share_memory(bundle: Path, image: NDArray[np.float32]) -> None:
    backend = load(bundle)
    first = backend.run(image)
    kept = first.copy()
    backend.run(255 - image)
    assert np.array_equal(first, kept)


@pytest.mark.usefixtures("device")
def test_image_of_another_size_is_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match=r"takes \(1, 3, 32, 32\), got \(1, 3, 8, 8\)"):
        load(bundle).run(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.usefixtures("device")
def test_builder_is_asked_for_the_plan(bundle: Path) -> None:
    load(bundle)
    assert asked(bundle) == {
        "typed": True,
        "workspace": 512 << 20,
        "flags": [],  # no TF32, and no precision: the graph's types say that
        "device": "gpu",
        "dla_core": -1,
        "timings": "",
    }


@pytest.mark.usefixtures("device")
def test_record_says_for_what_the_engine_was_built(bundle: Path) -> None:
    load(bundle)
    place = engine_place(bundle)
    record = json.loads((place / RECORD_FILE).read_text())
    expected = {
        "package": "tensorrt",
        "version": "10.3.0",
        "compute_capability": "8.7",
        "device": "Orin with 8 multiprocessors",
        "precision": "int8",
        "workspace_mb": 512,
        "engine": describe_content(ENGINE_FILE, (place / ENGINE_FILE).read_bytes()),
    }
    assert {key: record[key] for key in expected} == expected
    assert record["platform"].startswith("Linux ")
    assert record["onnx"]["sha256"] == make_plan()["onnx"]["sha256"]


@pytest.mark.usefixtures("device")
def test_nothing_is_left_beside_engine_record_and_timings(bundle: Path) -> None:
    load(bundle)
    place = engine_place(bundle)
    assert {path.name for path in place.iterdir()} == {ENGINE_FILE, RECORD_FILE}
    assert [path.suffix for path in place.parent.iterdir() if path.is_file()] == [".cache"]
    # `edgeseg verify` takes a file that the manifest does not name for damage.
    assert {path.name for path in bundle.rglob("*")} == {"artifact", "plan.json", "model.onnx"}


@pytest.mark.usefixtures("device")
def test_engine_describes_itself_for_a_measurement(bundle: Path) -> None:
    assert load(bundle).describe() == {
        "runtime": "TensorRT 10.3.0",
        "device": "Orin with 8 multiprocessors",
        "compute_capability": "8.7",
        "precision": "int8",
        "dla_core": -1,
        "engine_bytes": (engine_place(bundle) / ENGINE_FILE).stat().st_size,
    }


# Reuse


@pytest.mark.usefixtures("device")
def test_engine_is_built_once(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(bundle)
    assert "Building the int8 engine, once: there is none" in capfd.readouterr().err
    load(bundle)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("FAKE_TRT_VERSION", "10.7.0", "the version 10.3.0, and here is 10.7.0"),
        ("FAKE_GPU", "Thor, 11.0, 20", "compute capability 8.7, and here is 11.0"),
        ("FAKE_GPU", "Orin, 8.7, 4", "here is Orin with 4 multiprocessors"),
    ],
)
def test_engine_of_another_version_or_device_is_built_again(
    device: pytest.MonkeyPatch,
    bundle: Path,
    capfd: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    reason: str,
) -> None:
    load(bundle)
    capfd.readouterr()
    take_out()
    device.setenv(variable, value)
    load(bundle)
    assert f"{reason}: engines run nowhere else" in capfd.readouterr().err
    load(bundle)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("damage", ["appended", "cut", "gone", "record gone", "record damaged"])
def test_damaged_engine_is_built_again(
    bundle: Path, image: NDArray[np.float32], damage: str
) -> None:
    load(bundle)
    engine, record = (engine_place(bundle) / name for name in (ENGINE_FILE, RECORD_FILE))
    content = engine.read_bytes()
    changes = {
        "appended": lambda: engine.write_bytes(content + b"metadata"),
        "cut": lambda: engine.write_bytes(content[:-1]),
        "gone": engine.unlink,
        "record gone": record.unlink,
        "record damaged": lambda: record.write_text('{"version": "10.3.0"}'),
    }
    changes[damage]()
    assert load(bundle).run(image).any()
    assert engine.read_bytes().partition(b" ")[0] == b"ENGINE"
    assert json.loads(record.read_text())["engine"]["size_bytes"] == engine.stat().st_size


@pytest.mark.usefixtures("device")
def test_another_graph_has_another_engine(bundle: Path) -> None:
    load(bundle)
    first = engine_place(bundle)
    write_plan(bundle, onnx=describe_content("model.onnx", b"another graph"))
    (bundle / FILES[1]).write_bytes(b"another graph")
    load(bundle)
    assert engine_place(bundle) != first
    assert (first / ENGINE_FILE).is_file()


def test_timings_are_kept_for_a_version_and_a_device(
    device: pytest.MonkeyPatch, bundle: Path
) -> None:
    load(bundle)
    (timings,) = engine_place(bundle).parent.glob("*.cache")
    assert timings.read_bytes() == b"+1"
    write_plan(bundle, precision="fp16")
    load(bundle)
    assert asked(bundle)["timings"] == "+1"
    assert timings.read_bytes() == b"+1+1"
    take_out()
    device.setenv("FAKE_TRT_VERSION", "10.7.0")
    load(bundle)
    assert asked(bundle)["timings"] == ""
    assert len(list(timings.parent.glob("*.cache"))) == 2


@pytest.mark.usefixtures("device")
def test_damaged_timings_do_no_harm(bundle: Path) -> None:
    load(bundle)
    (timings,) = engine_place(bundle).parent.glob("*.cache")
    timings.write_bytes(b"damaged")
    write_plan(bundle, precision="fp16")
    load(bundle)
    assert asked(bundle)["timings"] == ""


def test_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tensorrt_backend.os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# DLA


def test_dla_core_takes_what_it_can(device: pytest.MonkeyPatch, bundle: Path) -> None:
    device.setenv("FAKE_DLA_CORES", "2")
    write_plan(bundle, precision="fp16", dla_core=1, strongly_typed=False)
    assert load(bundle).describe()["dla_core"] == 1
    made = asked(bundle)
    assert (made["device"], made["dla_core"]) == ("dla", 1)
    # DLA of TensorRT 10 goes with weakly typed networks and the flag.
    assert not made["typed"]
    assert made["flags"] == ["gpu_fallback", "fp16"]


def test_dla_core_of_tensorrt_11_is_strongly_typed(
    device: pytest.MonkeyPatch, bundle: Path
) -> None:
    device.setenv("FAKE_DLA_CORES", "2")
    device.setenv("FAKE_TRT_VERSION", "11.4.1")
    write_plan(bundle, precision="fp16", dla_core=0, strongly_typed=False)
    load(bundle)
    made = asked(bundle)
    assert made["typed"]
    assert made["flags"] == ["gpu_fallback"]


@pytest.mark.usefixtures("device")
def test_missing_dla_core_is_refused(bundle: Path) -> None:
    write_plan(bundle, precision="fp16", dla_core=0)
    with pytest.raises(RuntimeError, match=r"DLA core 0, and this device.* has 0\. Build the bun"):
        load(bundle)


# Refusals


@pytest.mark.parametrize("version", ["10.2.0", "8.6.1", "12.0.0"])
def test_version_that_the_plan_excludes_is_refused(
    device: pytest.MonkeyPatch, bundle: Path, version: str
) -> None:
    device.setenv("FAKE_TRT_VERSION", version)
    with pytest.raises(RuntimeError, match=rf"from 10\.3 to below 12\.0, and here is {version}"):
        load(bundle)
    assert not engine_place(bundle).exists()


@pytest.mark.parametrize("version", ["10.3.0", "10.16.2.10", "11.4.1"])
def test_versions_of_the_plan_build(device: pytest.MonkeyPatch, bundle: Path, version: str) -> None:
    device.setenv("FAKE_TRT_VERSION", version)
    assert load(bundle).describe()["runtime"] == f"TensorRT {version}"


def test_short_memory_is_refused_before_the_work(device: pytest.MonkeyPatch, bundle: Path) -> None:
    device.setenv("FAKE_FREE_MB", "300")
    with pytest.raises(
        RuntimeError, match=r"workspace of 512 MB, and 300 MB.* are free\. .*--workspace-mb N"
    ):
        load(bundle)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("parse", r"^TensorRT refuses the graph: Resize 'up2': Assertion failed: cubic is not sup"),
        ("build", r"does not build the engine: Could not find any implementation\. If memory is s"),
    ],
)
def test_refused_graph_names_the_reason(
    device: pytest.MonkeyPatch, bundle: Path, step: str, message: str
) -> None:
    device.setenv("FAKE_TRT_REFUSES", step)
    with pytest.raises(RuntimeError, match=message) as caught:
        load(bundle)
    assert str(caught.value).count("cubic") <= 1
    assert not (engine_place(bundle) / ENGINE_FILE).exists()


def test_engine_that_does_not_run_is_an_error(
    device: pytest.MonkeyPatch, bundle: Path, image: NDArray[np.float32]
) -> None:
    device.setenv("FAKE_TRT_REFUSES", "run")
    with pytest.raises(RuntimeError, match="the engine does not run"):
        load(bundle).run(image)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", FILES)
def test_changed_file_of_the_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"changed")
    with pytest.raises(RuntimeError, match=r"is not readable|was changed after it was written"):
        load(bundle)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", FILES)
def test_missing_file_of_the_bundle_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(RuntimeError, match=Path(name).name):
        load(bundle)


def test_cache_that_cannot_be_written_says_what_to_set(
    device: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    device.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match="Set EDGESEG_CACHE_DIR to a folder that can be"):
        load(bundle)


def test_machine_without_gpu_is_refused(device: pytest.MonkeyPatch, bundle: Path) -> None:
    device.setenv("FAKE_GPU", "")
    with pytest.raises(RuntimeError, match=r"no NVIDIA GPU can be used here: .*NoDevice"):
        load(bundle)
    reason = missing_reason("tensorrt")
    assert reason is not None
    assert "Run this on the device" in reason


@pytest.mark.parametrize(
    ("package", "advice"),
    [("tensorrt", "JetPack brings it: sudo apt install"), ("tensorrt_rtx", "pip install tensorrt")],
)
def test_missing_tensorrt_says_where_it_comes_from(
    device: pytest.MonkeyPatch, bundle: Path, package: str, advice: str
) -> None:
    device.setitem(sys.modules, package, None)
    with pytest.raises(RuntimeError, match=f"the package {package} does not load.*{advice}"):
        Backend(bundle, FILES, {"package": package}, 1)


def test_missing_cuda_package_says_how_to_add_one(device: pytest.MonkeyPatch, bundle: Path) -> None:
    for name in ("cuda", "pycuda"):
        device.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match=r"neither cuda-python nor pycuda.*pip install cuda-pyt"):
        load(bundle)


def test_pycuda_does_the_same(
    device: pytest.MonkeyPatch, bundle: Path, image: NDArray[np.float32]
) -> None:
    device.setitem(sys.modules, "cuda", None)
    device.syspath_prepend(FAKES_PYCUDA)
    assert type(open_cuda()).__name__ == "PyCuda"
    backend = load(bundle)
    assert np.array_equal(backend.run(image), (image[:, :1] > 127).astype(np.float32))
    assert backend.describe()["device"] == "Orin with 8 multiprocessors"


def test_older_cuda_python_has_its_runtime_elsewhere(
    device: pytest.MonkeyPatch, bundle: Path, image: NDArray[np.float32]
) -> None:
    import cuda
    from cuda.bindings import runtime

    device.setattr(cuda, "cudart", runtime, raising=False)
    device.setitem(sys.modules, "cuda.bindings", None)
    assert load(bundle).run(image).any()
