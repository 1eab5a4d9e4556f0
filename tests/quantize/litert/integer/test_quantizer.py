"""Models whose operators all work on integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_graphs import save_network, save_norms, weight
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, node, pointwise, run_as_written
from tiny_litert import Made, details_of, make, run, save_sized_graph

from edgeseg.errors import CalibrationError, UnknownNameError, UsageError
from edgeseg.formats.tflite import observe_tensors, read_tflite
from edgeseg.quantize import usual_methods
from edgeseg.quantize.litert.integer.quantizer import IntegerOptions, IntegerQuantizer
from edgeseg.records import Artifact

pytestmark = needs("onnx2tf", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")


def save_exponential(path: Path) -> Path:
    nodes = [
        node("Conv", [INPUT, "w"], "c"),
        node("Exp", ["c"], "e"),
        node("Sigmoid", ["e"], "y"),
    ]
    return save_sized_graph(path, nodes, {"w": pointwise(weight(0, 1, 3))})


def save_quotient(path: Path) -> Path:
    nodes = [
        node("Conv", [INPUT, "w"], "c"),
        node("Sigmoid", ["c"], "s"),
        node("Div", ["c", "s"], "q"),
        node("Sigmoid", ["q"], "y"),
    ]
    return save_sized_graph(path, nodes, {"w": pointwise(weight(0, 1, 3))})


def save_difference(path: Path) -> Path:
    """A root of a constant less squares."""
    nodes = [
        node("Conv", [INPUT, "w"], "c"),
        node("Mul", ["c", "c"], "s"),
        node("Conv", ["s", "minus", "b"], "e"),
        node("Sqrt", ["e"], "r"),
        node("Div", ["c", "r"], "q"),
        node("Sigmoid", ["q"], "y"),
    ]
    constants = {"minus": pointwise([[-1e-9]]), "b": [2.0], "w": pointwise(weight(0, 1, 3))}
    return save_sized_graph(path, nodes, constants)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("integer"), save_network)


@pytest.fixture(scope="module")
def quantised(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Any]:
    return IntegerQuantizer().quantize(
        made.source, made.images, tmp_path_factory.mktemp("whole") / "int8"
    )


def test_only_the_ends_are_float(quantised: tuple[Artifact, Any]) -> None:
    artifact, record = quantised
    assert artifact.precision == "int8"
    model = read_tflite(artifact.folder / artifact.files[0])
    floats = [index for index, kind in enumerate(model.types) if kind == "FLOAT32"]
    first, last = model.operators[0], model.operators[-1]
    assert (first.kind, last.kind) == ("QUANTIZE", "DEQUANTIZE")
    assert floats == sorted((first.inputs[0], last.outputs[0]))
    assert record.layers["float"] == 0
    kinds = Counter(one.kind for one in model.operators)
    assert record.layers["int8"] == sum(kinds.values()) - record.layers["conversions"]
    assert record.layers["int16"] == 0
    assert kinds["NEG"] == 0
    # What the concatenation does not read alone is rounded anew for it.
    assert kinds["QUANTIZE"] >= 2


def test_it_computes_what_the_float_model_does(made: Made, quantised: tuple[Artifact, Any]) -> None:
    for image in made.images:
        expected = run_as_written(made.onnx_path, image)
        difference = np.abs(run(quantised[0], image) - expected)
        assert np.ptp(expected) > 0.2
        assert difference.mean() < 0.02
        assert difference.max() < 0.15


def test_weights_have_a_scale_for_each_channel(quantised: tuple[Artifact, Any]) -> None:
    artifact, _ = quantised
    details = details_of(artifact)
    model = read_tflite(artifact.folder / artifact.files[0])
    for operator in model.operators:
        if operator.kind == "CONV_2D":
            _, kernel, bias = operator.inputs
            scales = details[kernel]["quantization_parameters"]["scales"]
            assert len(scales) == details[kernel]["shape"][0]
            assert details[bias]["dtype"] == np.int32


def test_operators_without_an_integer_kernel_are_named(tmp_path: Path) -> None:
    made = make(tmp_path, save_exponential)
    with pytest.raises(CalibrationError, match="no integer kernel for 1 EXP"):
        IntegerQuantizer().quantize(made.source, made.images, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


@pytest.fixture(scope="module")
def norms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Artifact, Any]:
    made = make(tmp_path_factory.mktemp("norms"), save_norms)
    folder = tmp_path_factory.mktemp("whole_norms") / "int8"
    return (made, *IntegerQuantizer().quantize(made.source, made.images, folder))


def test_norms_have_variances_of_16_bits(norms: tuple[Made, Artifact, Any]) -> None:
    made, artifact, record = norms
    model = read_tflite(artifact.folder / artifact.files[0])
    assert [kind for kind in model.types if kind == "FLOAT32"] == ["FLOAT32"] * 2
    source = read_tflite(made.source.folder / made.source.files[0])
    assert "RSQRT" in {one.kind for one in source.operators}
    roots = [one for one in model.operators if one.kind == "SQRT"]
    assert len(roots) == 2
    for root in roots:
        assert {model.types[index] for index in (*root.inputs, *root.outputs)} == {"INT16"}
    # Convolutions stay on int8.
    assert {model.types[one.outputs[0]] for one in model.operators if one.kind == "CONV_2D"} == {
        "INT8"
    }
    assert record.layers["int16"] > 0
    assert record.layers["float"] == 0


def test_norms_compute_what_the_float_model_does(norms: tuple[Made, Artifact, Any]) -> None:
    made, artifact, _ = norms
    for image in made.images:
        expected = run_as_written(made.onnx_path, image)
        difference = np.abs(run(artifact, image) - expected)
        assert np.ptp(expected) > 0.2
        assert difference.mean() < 0.02


def test_an_image_without_variance_divides_by_no_zero(norms: tuple[Made, Artifact, Any]) -> None:
    made, artifact, _ = norms
    image = np.zeros_like(next(iter(made.images)))
    assert np.isfinite(run(artifact, image)).all()


@pytest.mark.parametrize("save", [save_quotient, save_difference])
def test_a_division_by_what_may_be_zero_is_refused(
    save: Callable[[Path], Path], tmp_path: Path
) -> None:
    made = make(tmp_path, save)
    with pytest.raises(CalibrationError, match="may become 0 as an integer"):
        IntegerQuantizer().quantize(made.source, made.images, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


@pytest.mark.parametrize("percentile", [50, 101, float("nan")])
def test_a_share_that_is_none_is_refused(percentile: float) -> None:
    with pytest.raises(UsageError, match="percentile"):
        IntegerOptions(percentile=percentile)


def test_no_build_tries_it_unasked() -> None:
    assert "integer" not in usual_methods(("tflite",))


def labels_of(artifact: Artifact, images: Iterable[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """What the runtime's own kernels say, which XNNPACK's differ from in roundings."""
    path = artifact.folder / artifact.files[0]
    result = read_tflite(path).operators[-1].outputs[0]
    return np.stack([values[result] > 0.5 for values in observe_tensors(path, images, [result])])


def test_the_way_that_flips_the_fewest_pixels_is_taken(
    made: Made, quantised: tuple[Artifact, Any], tmp_path: Path
) -> None:
    expected = labels_of(made.source, made.images)
    flips = {}
    for way in IntegerOptions().ways():
        quantizer = IntegerQuantizer(IntegerOptions(ranges=way))
        artifact, record = quantizer.quantize(made.source, made.images, tmp_path / way)
        assert record.settings["ranges"] == way
        flips[way] = int((labels_of(artifact, made.images) != expected).sum())
    taken, name = quantised[1].settings["ranges"], quantised[0].files[0]
    assert flips[taken] == min(flips.values())
    assert (quantised[0].folder / name).read_bytes() == (tmp_path / taken / name).read_bytes()


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean percentile"):
        IntegerOptions(ranges="percentil")
