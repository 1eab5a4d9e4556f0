"""Times of LiteRT's operators: which operator of the file each event is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.errors import TargetError
from edgeseg.formats.tflite import Operator, TfliteModel, read_tflite
from edgeseg.targets.base import ProfileRequest
from edgeseg.targets.litert.runtime import MODEL_FILE, LiteRtRuntime
from edgeseg.targets.profiling import litert_counters
from edgeseg.targets.profiling.litert import _reads_of, lay_beside
from edgeseg.targets.profiling.litert_counters import (
    INSIDE_DELEGATE,
    OPERATOR,
    Event,
    count_in_process,
)
from edgeseg.targets.profiling.litert_origins import find_origins

RUNTIME = LiteRtRuntime()
TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1,3,16,16] image) => (float[1,1,16,16] mask)
<float[4,3,1,1] first = {1, 2, -1, 0.5, -2, 1, 3, 1, 1, -1, -2, 2},
 float[1,4,1,1] second = {1, -1, 2, 1}, int64[1] axes = {1}, float gain = {2}>
{
    mixed = Conv(image, first)
    bent = Relu(mixed)
    mean = ReduceMean(bent, axes)
    centred = Sub(bent, mean)
    logits = Conv(centred, second)
    mask = Sigmoid(logits)
}
"""
needs_litert = needs("onnx2tf", "onnx", "onnx_ir", "onnxruntime", "ai_edge_litert")


def made_of(*kinds: str) -> TfliteModel:
    operators = tuple(
        Operator(kind, "", (place,), (place + 1,)) for place, kind in enumerate(kinds)
    )
    return TfliteModel(operators, (), frozenset(), ("FLOAT32",) * (len(kinds) + 1))


def inside(*tags: str) -> list[Event]:
    return [Event(tag, INSIDE_DELEGATE, place, 1.0) for place, tag in enumerate(tags)]


def test_events_are_laid_beside_the_operators_in_their_order() -> None:
    model = made_of("CONV_2D", "MUL", "MUL", "CONCATENATION", "ADD", "LOGISTIC")
    # The delegate folds one product, copies twice for the concatenation, and adds a conversion.
    tags = ("Convolution (NHWC, F32) IGEMM", "Square (NC)", "Copy (NC, X32)", "Copy (NC, X32)")
    events = inside(*tags, "Add (ND)", "Convert (NC)", "Sigmoid (NC)")
    assert lay_beside(events, model) == [0, 1, 3, 3, 4, 4, 5]


def test_an_operator_outside_the_delegate_has_its_own_number() -> None:
    model = made_of("CONV_2D", "CUMSUM", "CONV_2D")
    events = inside("Fully Connected (NC, F32) GEMM")
    events += [Event("CUMSUM", OPERATOR, 1, 1.0), *inside("Convolution (NHWC, F32) DWConv")]
    assert lay_beside(events, model) == [0, 1, 2]


def test_what_reads_a_fused_operator_reads_what_that_reads() -> None:
    model = made_of("QUANTIZE", "PAD", "CONV_2D", "DEQUANTIZE")
    assert _reads_of(model, {0, 1, 2, 3}) == [(), (0,), (1,), (2,)]
    assert _reads_of(model, {0, 2, 3}) == [(), (0,), (0,), (2,)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ProfileRequest:
    import onnx

    folder = tmp_path_factory.mktemp("litert")
    onnx.save(onnx.parser.parse_model(TEXT), folder / "net.onnx")
    artifact = RUNTIME.compile(folder / "net.onnx", folder, "fp32")
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 16, 16)).astype(np.float32)
    return ProfileRequest(artifact, folder / "net.onnx", image, 2)


@needs_litert
def test_operators_are_named_by_the_values_that_they_hold(made: ProfileRequest) -> None:
    path = made.artifact.folder / MODEL_FILE
    model = read_tflite(path)
    assert set(model.names[1:-1]) <= {str(number) for number in range(100)}  # nothing is named
    origins = find_origins(made.graph_path, model, path, made.image)
    found = {
        operator.kind: set(names) for operator, names in zip(model.operators, origins, strict=True)
    }
    # The activation is fused into the convolution, whose own result no tensor holds.
    first = origins[[operator.kind for operator in model.operators].index("CONV_2D")]
    assert set(first) == {"bent", "mixed"}
    assert found["SUB"] == {"centred"}
    assert found["MEAN"] == {"mean"}
    assert found["CONV_2D"] == {"logits"}
    assert found["LOGISTIC"] == {"mask"}


@needs_litert
def test_the_profiler_times_each_operator(made: ProfileRequest) -> None:
    profile = RUNTIME.profile(made)
    kinds = [layer.name.partition(" ")[0] for layer in profile.layers]
    assert kinds == [
        operator.kind for operator in read_tflite(made.artifact.folder / MODEL_FILE).operators
    ]
    assert {layer.precision for layer in profile.layers} == {"f32"}
    assert profile.layers[0].origins[0] == "bent"
    assert profile.layers[0].kind == "Fully Connected (NC, F32) GEMM"  # as XNNPACK has it
    assert profile.run_ms > 0
    assert profile.counted_ms > 0


@needs_litert
def test_what_the_profiler_does_not_load_is_told(
    made: ProfileRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MODEL_FILE).write_bytes(b"no network")
    settings = dict(made.artifact.settings)
    with pytest.raises(TargetError, match=rf"not time {MODEL_FILE}.*Install the version"):
        count_in_process(tmp_path / MODEL_FILE, settings, made.image, 1)
    # As a mistake in calling C ends a process.
    crash = ("python3", "-c", "import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(litert_counters, "COMMAND", crash)
    with pytest.raises(TargetError, match=r"it ended with code -11\. Install the version"):
        count_in_process(made.artifact.folder / MODEL_FILE, settings, made.image, 1)


@needs_litert
def test_codes_are_compared_by_what_they_stand_for(made: ProfileRequest) -> None:
    """What 8 bits can hold of a value is near enough to know it by."""
    from edgeseg.targets.profiling.litert_origins import LARGEST_DIFFERENCE, _difference

    values: NDArray[np.float64] = np.random.default_rng(1).normal(0, 1, 500)
    rounded = np.rint(values / 0.05) * 0.05
    assert _difference(values, rounded) < 0.05 < LARGEST_DIFFERENCE
    assert _difference(values, values[::-1]) > LARGEST_DIFFERENCE
    assert _difference(np.zeros(4), np.zeros(4)) == np.inf
