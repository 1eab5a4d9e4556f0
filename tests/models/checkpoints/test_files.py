"""Files that hold weights are read whatever lies beside them, and others are named."""

from __future__ import annotations

import argparse
import datetime
import gzip
import pathlib
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from edgeseg.errors import WeightsError
from edgeseg.models.checkpoints.files import read_file, states_of
from edgeseg.models.weights import load_weights

BESIDE: dict[str, Any] = {
    "numpy scalar": np.float64(0.5),
    "numpy integer": np.int64(3),
    "numpy array": np.arange(3),
    "namespace": argparse.Namespace(lr=0.1, sizes=[1, 2]),
    "simple namespace": types.SimpleNamespace(a=1),
    "path": pathlib.PurePosixPath("a/b"),
    "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "default dict": defaultdict(list, {"loss": [np.float32(1)]}),
    "device": torch.device("cpu"),
    "set": {1, 2},
}


@pytest.mark.parametrize("name", BESIDE)
def test_plain_objects_beside_the_weights_are_read_over(name: str, tmp_path: Path) -> None:
    net = nn.Conv2d(2, 3, 1)
    content = {"state_dict": net.state_dict(), "logging": {name: BESIDE[name]}, "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    other = nn.Conv2d(2, 3, 1)
    load_weights(other, tmp_path / "a.pth")
    assert torch.equal(other.weight, net.weight)


def test_settings_of_lightning_are_read_without_lightning(tmp_path: Path) -> None:
    module = types.ModuleType("pytorch_lightning.utilities.parsing")
    kind = type("AttributeDict", (dict,), {"__module__": module.__name__})
    module.AttributeDict = kind  # type: ignore[attr-defined]
    names = ["pytorch_lightning", "pytorch_lightning.utilities", module.__name__]
    sys.modules.update(dict.fromkeys(names, module))
    try:
        content = {"hyper_parameters": kind(lr=0.1), "state_dict": {"a": torch.ones(2)}}
        torch.save(content, tmp_path / "a.ckpt")
    finally:
        for name in names:
            del sys.modules[name]
    assert read_file(tmp_path / "a.ckpt")["hyper_parameters"] == {"lr": 0.1}


def test_an_object_of_another_class_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "net": nn.ReLU()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"object of torch\.nn\..*ReLU.*Save only the weights"):
        read_file(tmp_path / "a.pth")


def write_script(path: Path) -> None:
    torch.jit.trace(nn.Conv2d(2, 3, 1), torch.rand(1, 2, 4, 4)).save(str(path))


def write_program(path: Path) -> None:
    program = torch.export.export(nn.Conv2d(2, 3, 1).eval(), (torch.rand(1, 2, 4, 4),))
    torch.export.save(program, str(path))


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.pt", write_script, r"whole model in TorchScript.*torch\.jit\.load.*state_dict"),
        ("a.pt2", write_program, r"whole model that torch\.export saved.*state_dict"),
        ("a.npz", lambda path: np.savez(path, a=np.ones(2)), "archive of NumPy arrays"),
        ("a.pth", lambda path: path.touch(), "is empty. Copy or download it again"),
        ("a.pth", lambda path: path.mkdir(), "is a folder.*Name the file in it"),
        ("a.onnx", lambda path: path.write_bytes(b"\x08\x0a\x12"), "ONNX model.*Save only"),
        ("a.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5 file.*Save only"),
        ("a.bin", lambda path: path.write_bytes(b"\0\0\0\0TFL3\0"), "TFLite model.*Save only"),
        ("a.gz", lambda path: path.write_bytes(gzip.compress(b"a")), "gzip archive. Unpack it"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named(name: str, write: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(WeightsError, match=words) as refusal:
        read_file(tmp_path / name)
    assert "not a whole" not in str(refusal.value)


def test_a_checkpoint_that_contains_itself_ends() -> None:
    loop: dict[str, Any] = {"weights": {"a": torch.ones(2)}}
    loop["self"] = loop
    assert states_of(loop).keys() == {"weights"}
    only: dict[str, Any] = {}
    only["state_dict"] = only
    assert states_of(only) == {}
