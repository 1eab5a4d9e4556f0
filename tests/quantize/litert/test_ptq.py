from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from support import Counter, draw_pair, needs

from edgeseg.data.folder import open_folder
from edgeseg.errors import CalibrationError, MissingBackendError
from edgeseg.formats.tflite import Operator, TfliteModel, read_tflite
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.litert.ptq import (
    MOVING,
    SUMS,
    LiteRtOptions,
    LiteRtQuantizer,
    choose_int8_operators,
    count_layers,
    tensors_of,
    widen_empty_ranges,
    widen_ranges,
)
from edgeseg.records import Artifact, QuantizationRecord
from edgeseg.targets import find_runtime

pytestmark = needs("onnx2tf", "ai_edge_litert", "ai_edge_quantizer", "torch", "onnx", "onnx_ir")

SPEC = find_model("egeunet").at_size(64, 64)
IMAGES = 3
NORMS = 10  # group norms, whose variances a convolution gives


class Made(NamedTuple):
    source: Artifact
    images: CalibrationImages
    artifact: Artifact
    record: QuantizationRecord
    steps: float
    total: float | None


@pytest.fixture(scope="module")
def made(small_artifact: Callable[..., Artifact], tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("litert")
    (root / "images").mkdir()
    for index in range(IMAGES):
        Image.fromarray(draw_pair((64, 64), seed=index)[0]).save(root / f"images/{index}.png")
    images = choose_calibration_images(open_folder(root, labelled=False), SPEC.inputs, IMAGES)
    source = small_artifact("litert")
    counter = Counter()
    artifact, record = LiteRtQuantizer().quantize(source, images, root / "int8", progress=counter)
    return Made(source, images, artifact, record, counter.steps, counter.total)


def network(*operators: Operator, constants: tuple[int, ...] = ()) -> TfliteModel:
    """A model of operators (kind, inputs, outputs); tensor 0 is the image."""
    count = 1 + max(index for operator in operators for index in operator.outputs)
    names = tuple(f"t{index}" for index in range(max(count, *constants, 1) + 1))
    return TfliteModel(operators, names, frozenset(constants))


def operator(kind: str, inputs: tuple[int, ...], *outputs: int) -> Operator:
    return Operator(kind, "", inputs, outputs)


def test_artifact_is_int8_of_the_same_kind(made: Made) -> None:
    assert made.artifact.precision == "int8"
    for name in ("runtime", "format", "files", "settings"):
        assert getattr(made.artifact, name) == getattr(made.source, name), name
    assert {path.name for path in made.artifact.folder.iterdir()} == set(made.artifact.files)
    assert set(made.artifact.toolchain) == {"onnx2tf", "ai_edge_quantizer"}


def test_weights_have_a_scale_for_each_output_channel(made: Made) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = made.artifact.folder / made.artifact.files[0]
    interpreter = Interpreter(model_content=path.read_bytes())
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    convolutions = [
        operator for operator in read_tflite(path).operators if operator.kind == "CONV_2D"
    ]
    rounded = [one for one in convolutions if details[one.inputs[1]]["dtype"] == np.int8]
    layers = made.record.layers
    assert len(rounded) == layers["int8_conv_2d"] == len(convolutions) - layers["float_conv_2d"]
    for operator in rounded:
        image, weight = (details[index] for index in operator.inputs[:2])
        assert image["dtype"] == np.int8
        assert image["quantization_parameters"]["scales"].shape == (1,)
        parameters = weight["quantization_parameters"]
        assert parameters["scales"].shape == (weight["shape"][0],)
        assert not parameters["zero_points"].any()


def test_int8_is_smaller_than_fp32(made: Made) -> None:
    assert made.artifact.size_bytes < made.source.size_bytes


def test_record_is_complete(made: Made) -> None:
    record = made.record.to_json()
    assert record["method"] == "ai-edge-quantizer"
    assert record["settings"] == LiteRtQuantizer().settings()
    assert record["images"] == [
        {"sha256": hashlib.sha256(pair.image_path.read_bytes()).hexdigest()}
        for pair in made.images.pairs
    ]


def test_record_says_what_stays_in_float(made: Made) -> None:
    layers = made.record.layers
    model = read_tflite(made.source.folder / made.source.files[0])
    assert layers["int8"] + layers["float"] == len(model.operators)
    assert layers["conversions"] > 0
    for name in ("int8", "float"):
        parts = [count for kind, count in layers.items() if kind.startswith(f"{name}_")]
        assert sum(parts) == layers[name] > 0
    # Normalisation, its sums, and the convolution that gives the logits.
    for kind in ("mean", "sqrt", "add", "logistic"):
        assert layers[f"float_{kind}"] > 0
    assert layers["float_conv_2d"] == 1 + NORMS


def test_progress_ends_full(made: Made) -> None:
    assert made.total == made.steps == IMAGES


def test_quantised_network_answers_nearly_as_the_float_one(made: Made) -> None:
    runtime = find_runtime("litert")
    image = next(iter(made.images))
    float_one, small = (
        runtime.load(artifact).run(image) for artifact in (made.source, made.artifact)
    )
    assert small.shape == float_one.shape
    difference = np.abs(small - float_one)
    assert 0 < difference.mean() < 0.1


def test_quantising_twice_gives_equal_bytes(made: Made, tmp_path: Path) -> None:
    again, record = LiteRtQuantizer().quantize(made.source, made.images, tmp_path / "again")
    name = made.artifact.files[0]
    assert (again.folder / name).read_bytes() == (made.artifact.folder / name).read_bytes()
    assert record == made.record


def test_order_of_the_images_does_not_matter(made: Made, tmp_path: Path) -> None:
    turned = CalibrationImages(made.images.pairs[::-1], made.images.digests[::-1], SPEC.inputs)
    again, _ = LiteRtQuantizer().quantize(made.source, turned, tmp_path / "again")
    name = made.artifact.files[0]
    assert (again.folder / name).read_bytes() == (made.artifact.folder / name).read_bytes()


def test_quantising_is_silent_and_leaves_the_log_as_it_was(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("absl")
    level = logger.level
    capfd.readouterr()
    warnings.simplefilter("error")
    LiteRtQuantizer().quantize(made.source, made.images, tmp_path / "again")
    assert capfd.readouterr() == ("", "")
    assert logger.level == level


def test_convolutions_but_the_last_are_int8() -> None:
    first = operator("CONV_2D", (0, 10), 1)
    norm = operator("MUL", (1, 1), 2)
    second = operator("DEPTHWISE_CONV_2D", (2, 11), 3)
    side = operator("CONV_2D", (1, 12), 4)
    joined = operator("ADD", (3, 4), 5)
    model = network(first, norm, second, side, joined, constants=(10, 11, 12))
    # Nothing is convolved after the second and the side branch: they give the logits.
    assert choose_int8_operators(model) == [first]


def test_products_of_two_activations_are_no_convolutions() -> None:
    product = operator("FULLY_CONNECTED", (0, 0), 1)
    first = operator("CONV_2D", (1, 10), 2)
    last = operator("CONV_2D", (2, 10), 3)
    assert choose_int8_operators(network(product, first, last, constants=(10,))) == [first]


def test_what_moves_int8_values_is_int8() -> None:
    ahead = operator("PAD", (0, 12), 1)
    first = operator("CONV_2D", (1, 10), 2)
    behind = operator("MAX_POOL_2D", (2,), 3)
    further = operator("TRANSPOSE", (3, 12), 4)
    rounding = operator("RESIZE_BILINEAR", (4, 12), 5)
    apart = operator("RESHAPE", (5, 12), 6)
    last = operator("CONV_2D", (6, 10), 7)
    model = network(ahead, first, behind, further, rounding, apart, last, constants=(10, 12))
    assert choose_int8_operators(model) == [ahead, first, behind, further]


def test_variances_and_what_divides_by_them_stay_float() -> None:
    variance = operator("CONV_2D", (1, 10, 11), 2)
    spread = operator("CONV_2D", (4, 10, 11), 5)
    model = network(
        operator("MUL", (0, 0), 1),
        variance,
        operator("SQRT", (2,), 3),
        operator("DIV", (12, 3), 4),
        spread,
        first := operator("CONV_2D", (5, 10, 11), 6),
        operator("CONV_2D", (6, 10, 11), 7),
        constants=(10, 11, 12),
    )
    assert choose_int8_operators(model) == [first]


def test_sums_are_int8_where_all_that_they_add_is() -> None:
    first, second = operator("CONV_2D", (0, 10, 11), 1), operator("CONV_2D", (0, 10, 11), 2)
    shuffled = operator("DEPTH_TO_SPACE", (2,), 3)
    inner = operator("ADD", (1, 3), 4)
    mixed = operator("ADD", (4, 0), 5)
    offset = operator("ADD", (4, 12), 6)
    model = network(
        first,
        second,
        shuffled,
        inner,
        mixed,
        offset,
        operator("MUL", (5, 6), 7),
        operator("CONV_2D", (7, 10, 11), 8),
        constants=(10, 11, 12),
    )
    assert choose_int8_operators(model, MOVING | SUMS) == [first, second, inner]
    assert choose_int8_operators(model) == [first, second]


def test_sums_can_be_left_in_float() -> None:
    quantizer = LiteRtQuantizer(LiteRtOptions(sums=False))
    assert "ADD" not in quantizer.settings()["operators"]
    assert "ADD" in LiteRtQuantizer().settings()["operators"]


def test_what_float_operators_read_too_is_not_rounded_for_a_convolution() -> None:
    shared = operator("PAD", (0, 12), 1)
    first = operator("CONV_2D", (1, 10), 2)
    norm = operator("MUL", (1, 2), 3)
    last = operator("CONV_2D", (3, 10), 4)
    model = network(shared, first, norm, last, constants=(10, 12))
    assert choose_int8_operators(model) == [first]


def test_ranges_are_asked_of_what_int8_operators_touch() -> None:
    first = operator("CONV_2D", (0, 10), 1)
    model = network(first, operator("MUL", (1, 1), 2), constants=(10,))
    assert tensors_of(model, [first]) == [0, 1]


def test_ranges_cover_all_images() -> None:
    ranges: dict[int, tuple[float, float]] = {}
    widen_ranges(ranges, {4: np.array([-1.5, 2], np.float32)})
    widen_ranges(ranges, {4: np.array([0.5, 2.5], np.float32)})
    assert ranges == {4: (-1.5, 2.5)}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_asks_for_another_checkpoint(value: float) -> None:
    with pytest.raises(CalibrationError, match=r"NaN or infinite.*Use another checkpoint"):
        widen_ranges({}, {7: np.array([0, value], np.float32)})


def test_counts_tell_kinds_and_conversions() -> None:
    first, bent = operator("CONV_2D", (0, 10), 1), operator("MUL", (1, 1), 2)
    last = operator("CONV_2D", (2, 10), 3)
    model = network(first, bent, last, constants=(10,))
    rounded = network(operator("QUANTIZE", (0,), 1), operator("DEQUANTIZE", (1,), 2))
    assert count_layers(model, [first], rounded) == {
        "int8": 1,
        "float": 2,
        "conversions": 2,
        "int8_conv_2d": 1,
        "float_conv_2d": 1,
        "float_mul": 1,
    }


def test_a_network_of_one_convolution_says_what_to_build() -> None:
    model = network(operator("CONV_2D", (0, 10), 1), constants=(10,))
    with pytest.raises(
        CalibrationError, match=r"no convolution before another one.*Build with --precision fp32"
    ):
        choose_int8_operators(model)


def test_failure_says_what_to_build_instead(made: Made, tmp_path: Path) -> None:
    (tmp_path / "float").mkdir()
    (tmp_path / "float" / made.source.files[0]).write_bytes(b"this is no network")
    broken = Artifact("litert", "fp32", "tflite", tmp_path / "float", made.source.files)
    with pytest.raises(
        CalibrationError,
        match=r"ai-edge-quantizer cannot quantise model\.tflite: .*Build with --precision fp32",
    ):
        LiteRtQuantizer().quantize(broken, made.images, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_missing_quantizer_names_the_install_command(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[android\]'"):
        LiteRtQuantizer().quantize(made.source, made.images, tmp_path / "new")


def test_what_never_fired_gets_the_widest_range() -> None:
    ranges = {0: (-3.0, 1.0), 1: (0.0, 0.0), 2: (0.0, 2.0)}
    widen_empty_ranges(ranges)
    assert ranges == {0: (-3.0, 1.0), 1: (0.0, 3.0), 2: (0.0, 2.0)}
    with pytest.raises(CalibrationError, match=r"is zero on all.*Use another checkpoint"):
        widen_empty_ranges({0: (0.0, 0.0)})
