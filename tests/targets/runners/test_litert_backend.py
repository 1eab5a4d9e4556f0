"""The runner of `litert`: how it loads a model, and the layout and codes at its edges."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.errors import TargetError
from edgeseg.records import Artifact
from edgeseg.targets.litert.conversion import smooth_noise
from edgeseg.targets.litert.runtime import LiteRtRuntime
from edgeseg.targets.runners import litert_backend

pytestmark = needs("onnx2tf", "onnx", "onnx_ir", "onnxruntime", "ai_edge_litert")

RUNTIME = LiteRtRuntime()
SETTINGS = RUNTIME.runtime_settings("fp32")
INT8_TENSOR = {
    "index": 0,
    "dtype": np.int8,
    "shape": np.array([1, 1, 2, 1]),
    "quantization": (0.5, -3),
}


@pytest.fixture(scope="module")
def artifact(small_artifact: Callable[..., Artifact]) -> Artifact:
    return small_artifact(RUNTIME.name)


@pytest.fixture
def image() -> NDArray[np.float32]:
    pixels = smooth_noise(64, 64) * np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def load(artifact: Artifact, threads: int = 1) -> Any:
    return RUNTIME.load(artifact, threads)


def test_backend_gives_its_threads_to_the_interpreter(
    artifact: Artifact, image: NDArray[np.float32]
) -> None:
    one, two = (load(artifact, threads).run(image) for threads in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_loading_prints_no_notice(artifact: Artifact, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    load(artifact)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_notice_is_printed_again(capfd: pytest.CaptureFixture[str]) -> None:
    with litert_backend._without_notices():
        os.write(2, b"INFO: Created a delegate.\nERROR: out of memory\n")
    assert capfd.readouterr().err == "ERROR: out of memory\n"


def test_another_delegate_is_refused(artifact: Artifact) -> None:
    with pytest.raises(TargetError, match="this runner has no delegate 'gpu'"):
        load(replace(artifact, settings={**SETTINGS, "delegate": "gpu"}))


def test_a_manifest_of_another_model_is_refused(artifact: Artifact) -> None:
    wrong = {**SETTINGS, "input": {**SETTINGS["input"], "dtype": "int8"}}
    with pytest.raises(TargetError, match=r"'float32'.* where the manifest says .*'int8'"):
        load(replace(artifact, settings=wrong))


def test_int8_input_and_output_are_converted_at_the_edges() -> None:
    # code = value / 0.5 - 3, cut off at -128 and 127.
    values = np.array([[[[0.0], [1.2], [-100.0], [100.0]]]], np.float32)
    codes = litert_backend._encode(values, INT8_TENSOR)
    assert codes.dtype == np.int8
    assert codes.ravel().tolist() == [-3, -1, -128, 127]
    back = litert_backend._decode(codes, INT8_TENSOR)
    assert back.dtype == np.float32
    assert back.ravel().tolist() == [0.0, 1.0, -62.5, 65.0]
    assert litert_backend.describe(INT8_TENSOR) == {
        "layout": "NHWC",
        "dtype": "int8",
        "scale": 0.5,
        "zero_point": -3,
    }


class FakeInterpreter:
    """An interpreter of an int8 model that gives the first channel of each pixel."""

    def __init__(self, *, model_content: bytes, num_threads: int) -> None:
        assert (model_content, num_threads) == (b"a model", 3)

    def allocate_tensors(self) -> None:
        pass

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{**INT8_TENSOR, "quantization": (1.0, 0)}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{**INT8_TENSOR, "index": 1}]

    def set_tensor(self, index: int, codes: NDArray[np.int8]) -> None:
        assert index == 0
        self.codes = codes

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> NDArray[np.int8]:
        assert index == 1
        return self.codes[..., :1]


def test_tflite_runtime_does_where_litert_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, module = types.ModuleType("tflite_runtime"), types.ModuleType("interpreter")
    module.Interpreter = FakeInterpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    (tmp_path / "net.tflite").write_bytes(b"a model")
    details = {"layout": "NHWC", "dtype": "int8"}
    runtime = {
        "delegate": "xnnpack",
        "input": {**details, "scale": 1.0, "zero_point": 0},
        "output": {**details, "scale": 0.5, "zero_point": -3},
    }
    backend = litert_backend.Backend(tmp_path, ["net.tflite"], runtime, 3)
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    mask = backend.run(image)
    assert mask.shape == (1, 1, 2, 2)
    # Codes 0 to 3 stand for (code + 3) / 2.
    assert mask.ravel().tolist() == [1.5, 2.0, 2.5, 3.0]
