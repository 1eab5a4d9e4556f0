"""Engines that are shipped, as for `rtx`; the machine is that of fakes/."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_jetson import GRAPH, make_plan
from numpy.typing import NDArray

from edgeseg.targets.runners import tensorrt_backend
from edgeseg.targets.runners.tensorrt_backend import (
    ENGINE_FILE,
    Backend,
    describe_content,
    open_cuda,
)

# Engines that are shipped, as for `rtx`


RTX_FILES = ("artifact/model.engine", "artifact/engine.json", "artifact/model.onnx")


def write_engine(folder: Path, **changes: Any) -> None:
    """A bundle for `rtx` and an Orin."""
    content = b"ENGINE {}"
    record = {
        **{key: make_plan()[key] for key in ("precision", "onnx", "input", "output")},
        "package": "tensorrt_rtx",
        "version": "1.7.1.116",
        "compute_capability": "8.7",
        "device": None,
        "platform": tensorrt_backend.describe_machine(
            tensorrt_backend.import_tensorrt("tensorrt"), open_cuda()
        )["platform"],
        "engine": describe_content(ENGINE_FILE, content),
        **changes,
    }
    (folder / "artifact").mkdir(exist_ok=True)
    for name, made in zip(RTX_FILES, (content, json.dumps(record).encode(), GRAPH), strict=True):
        (folder / name).write_bytes(made)


@pytest.fixture
def rtx(device: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The same machine with TensorRT-RTX."""
    import tensorrt

    device.setattr(tensorrt, "__name__", "tensorrt_rtx")
    device.setattr(tensorrt, "__version__", "1.7.1.116")
    device.setitem(sys.modules, "tensorrt_rtx", tensorrt)
    device.delitem(sys.modules, "tensorrt")
    return device


def load_rtx(folder: Path) -> Any:
    return Backend(folder, RTX_FILES, {"package": "tensorrt_rtx"}, 1)


@pytest.mark.usefixtures("rtx")
def test_shipped_engine_runs(tmp_path: Path, image: NDArray[np.float32]) -> None:
    write_engine(tmp_path)
    backend = load_rtx(tmp_path)
    assert np.array_equal(backend.run(image), (image[:, :1] > 127).astype(np.float32))
    assert backend.describe()["runtime"] == "TensorRT-RTX 1.7.1.116"
    assert not (tmp_path / "cache").exists()  # nothing is built


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "1.4.0.76"}, r"the version 1\.4\.0\.76, and here is 1\.7\.1\.116"),
        ({"compute_capability": "8.9"}, r"compute capability 8\.9, and here is 8\.7"),
        ({"platform": "Windows AMD64"}, "the platform Windows AMD64, and here is Linux"),
        ({"package": "tensorrt"}, "the package tensorrt, and here is tensorrt_rtx"),
        ({"device": "NVIDIA L4"}, "the device NVIDIA L4, and here is Orin"),
    ],
)
def test_shipped_engine_is_refused_elsewhere(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    write_engine(tmp_path, **changes)
    with pytest.raises(RuntimeError, match=f"{reason}.*Build the bundle for this mac"):
        load_rtx(tmp_path)


@pytest.mark.usefixtures("rtx")
def test_shipped_engine_is_never_added_to(tmp_path: Path) -> None:
    write_engine(tmp_path)
    path = tmp_path / RTX_FILES[0]
    path.write_bytes(path.read_bytes() + b"metadata")
    with pytest.raises(RuntimeError, match=r"model\.engine was changed after it was written"):
        load_rtx(tmp_path)


@pytest.mark.usefixtures("rtx")
def test_engine_that_the_runtime_refuses_says_why(tmp_path: Path) -> None:
    write_engine(tmp_path, engine=describe_content(ENGINE_FILE, b"of another make"))
    (tmp_path / RTX_FILES[0]).write_bytes(b"of another make")
    with pytest.raises(RuntimeError, match=r"does not load model\.engine: magic tag does not mat"):
        load_rtx(tmp_path)
