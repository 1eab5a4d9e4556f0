from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image
from support import Counter, draw_pair, needs
from tiny_graphs import (
    INPUT,
    RESULT,
    constants_of,
    node,
    pointwise,
    run_as_written,
    save_conv_relu_conv,
    save_graph,
)

from edgeseg.data.folder import open_folder
from edgeseg.errors import CalibrationError, DataError, MissingBackendError
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.calibrators.min_max import MinMaxCalibrator
from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.quantize.qdq_onnx import QdqEmitter
from edgeseg.records import ONNX_FORMAT, Artifact, sha256_of_file

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

SPEC = find_model("egeunet").at_size(64, 64)
IMAGES = 3


class Made(NamedTuple):
    source: Path
    images: CalibrationImages
    plan: QuantPlan
    artifact: Artifact
    layers: dict[str, int]
    progress: Counter


def artifact_of(path: Path) -> Artifact:
    return Artifact("", "fp32", ONNX_FORMAT, path.parent, (path.name,))


def images_in(root: Path) -> CalibrationImages:
    (root / "images").mkdir(parents=True)
    for index in range(IMAGES):
        Image.fromarray(draw_pair((64, 64), seed=index)[0]).save(root / f"images/{index}.png")
    return choose_calibration_images(open_folder(root, labelled=False), SPEC.inputs, IMAGES)


@pytest.fixture(scope="module")
def made(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("qdq")
    images, progress = images_in(root), Counter()
    plan = MinMaxCalibrator().calibrate(small_onnx, images, progress=progress)
    artifact, layers = QdqEmitter().emit(
        plan, small_onnx, artifact_of(small_onnx), images, root / "new" / "int8"
    )
    return Made(small_onnx, images, plan, artifact, layers, progress)


@pytest.fixture
def images(tmp_path: Path) -> CalibrationImages:
    return images_in(tmp_path / "data")


@pytest.fixture
def quantize(images: CalibrationImages, tmp_path: Path) -> Callable[[Path], Path]:
    """Quantise a graph with the input `x` on the images."""

    def quantize(path: Path) -> Path:
        plan = MinMaxCalibrator().calibrate(path, images)
        folder = tmp_path / f"{path.stem}-int8"
        artifact, _ = QdqEmitter().emit(plan, path, artifact_of(path), images, folder)
        return artifact.folder / artifact.files[0]

    return quantize


def three_channels(*weights: ArrayLike) -> ArrayLike:
    return np.repeat(np.array(weights, np.float32)[:, None], 3, axis=1)


def test_artifact_is_int8_onnx(made: Made) -> None:
    assert (made.artifact.precision, made.artifact.format) == ("int8", ONNX_FORMAT)
    assert (made.artifact.runtime, made.artifact.settings) == ("", {})
    assert {path.name for path in made.artifact.folder.iterdir()} == set(made.artifact.files)
    assert made.artifact.size_bytes < made.source.stat().st_size


def test_provenance_is_complete(made: Made) -> None:
    provenance = made.plan.provenance
    assert provenance.method == "min-max"
    assert provenance.settings == MinMaxCalibrator().settings()
    assert provenance.graph_sha256 == sha256_of_file(made.source)
    assert provenance.images == made.images.digests
    assert provenance.seed is None


def test_layers_are_those_of_the_graph(made: Made) -> None:
    import onnx

    def count(path: Path, kind: str) -> int:
        return sum(found.op_type == kind for found in onnx.load(path).graph.node)

    layers = made.layers
    written = made.artifact.folder / made.artifact.files[0]
    assert layers["convolutions"] == count(made.source, "Conv") == count(written, "Conv")
    assert layers["quantized_activations"] == count(written, "QuantizeLinear")
    # The weight of each INT8 convolution has a DequantizeLinear, and each activation.
    assert count(written, "DequantizeLinear") == (
        layers["int8_convolutions"] + layers["quantized_activations"]
    )
    assert 0 < layers["int8_convolutions"] == len(made.plan.weights) < layers["convolutions"]
    assert layers["quantized_activations"] == len(made.plan.ranges)


def test_progress_ends_full(made: Made) -> None:
    assert made.progress.total == made.progress.steps == IMAGES


def test_quantised_network_answers_nearly_as_the_float_one(made: Made) -> None:
    import onnxruntime

    image = next(iter(made.images))
    float_one, small = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
            None, {SPEC.inputs.name: image}
        )[0]
        for path in (made.source, made.artifact.folder / made.artifact.files[0])
    )
    assert small.shape == float_one.shape
    assert 0 < np.abs(small - float_one).mean() < 0.1


def test_order_of_images_does_not_matter(made: Made) -> None:
    images = made.images
    backwards = replace(images, pairs=images.pairs[::-1], digests=images.digests[::-1])
    again = MinMaxCalibrator().calibrate(made.source, backwards)
    assert again == made.plan


def test_no_image_says_what_to_name(made: Made) -> None:
    none = replace(made.images, pairs=(), digests=())
    with pytest.raises(CalibrationError, match="Name real images with --data"):
        MinMaxCalibrator().calibrate(made.source, none)


def test_ranges_are_the_largest_magnitudes_of_the_images(
    quantize: Callable[[Path], Path],
    images: CalibrationImages,
    tmp_path: Path,
) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", three_channels(1, -2), [[1, 1]])
    written = quantize(path)
    sums = [image.sum(axis=1) for image in images]
    inner = max(max(one.max(), (-2 * one).max()) for one in sums)
    stored = constants_of(written)
    assert stored["x_scale"] == pytest.approx(max(np.abs(image).max() for image in images) / 127)
    assert stored["r_scale"] == pytest.approx(inner / 127, rel=1e-5)


def test_larger_weights_give_larger_ranges_and_the_same_codes(
    quantize: Callable[[Path], Path],
    images: CalibrationImages,
    tmp_path: Path,
) -> None:
    weights = np.random.default_rng(5).normal(size=(2, 3)).astype(np.float32)
    written = [
        quantize(save_conv_relu_conv(tmp_path / f"{name}.onnx", factor * weights, [[1, -1]]))
        for name, factor in (("small", 1), ("large", 4))
    ]
    small, large = (constants_of(path) for path in written)
    assert np.array_equal(small["a_weight_codes"], large["a_weight_codes"])
    for name in ("a_weight_scale", "r_scale"):
        assert np.array_equal(4 * small[name], large[name])
    assert small["x_scale"] == large["x_scale"]
    image = next(iter(images))
    results = [run_as_written(path, image)[0] for path in written]
    assert np.array_equal(4 * results[0], results[1])


def test_graph_without_a_convolution_to_quantise_says_what_to_build(
    quantize: Callable[[Path], Path], tmp_path: Path
) -> None:
    nodes = [node("Conv", [INPUT, "weight"], RESULT)]
    constants = {"weight": pointwise(three_channels(1))}
    path = save_graph(tmp_path / "single.onnx", nodes, constants, channels=3)
    with pytest.raises(
        CalibrationError, match=r"single\.onnx has no convolution.*Build with --precision fp32"
    ):
        quantize(path)
    assert not (tmp_path / "single-int8").exists()


def test_dead_layer_is_named(quantize: Callable[[Path], Path], tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "dead.onnx", three_channels(0), [[1]])
    with pytest.raises(CalibrationError, match=r"'r' has no usable range.*is 0\.0.*dead layer"):
        quantize(path)
    assert not (tmp_path / "dead-int8").exists()


def test_image_that_cannot_be_read_is_named(
    quantize: Callable[[Path], Path],
    images: CalibrationImages,
    tmp_path: Path,
) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", three_channels(1), [[1]])
    broken = images.pairs[-1].image_path
    broken.write_text("hello")
    with pytest.raises(DataError, match=f"{broken.name} is not an image"):
        quantize(path)


@pytest.mark.parametrize("package", ["onnx_ir", "onnxruntime"])
def test_missing_package_names_the_install_command(
    made: Made, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[export\]'"):
        MinMaxCalibrator().calibrate(made.source, made.images)
