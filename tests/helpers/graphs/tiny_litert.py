"""Plans of tiny graphs, emitted as TFLite models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from support import draw_pair
from tiny_graphs import save_graph

from edgeseg.data.folder import open_folder
from edgeseg.formats.tflite import read_tflite
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.litert.emitter import LiteRtEmitter
from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

SIZE = (32, 32)


class Made(NamedTuple):
    onnx_path: Path
    source: Artifact
    images: CalibrationImages


def make(root: Path, save: Callable[[Path], Path]) -> Made:
    """Save a graph and convert it, with two images to calibrate on."""
    from PIL import Image

    (root / "images").mkdir()
    for index in range(2):
        Image.fromarray(draw_pair(SIZE, seed=index)[0]).save(root / f"images/{index}.png")
    inputs = find_model("egeunet", size=SIZE).inputs
    images = choose_calibration_images(open_folder(root, labelled=False), inputs, 2)
    onnx_path = save(root / "tiny.onnx")
    return Made(
        onnx_path, find_runtime("litert").compile(onnx_path, root / "float", "fp32"), images
    )


def save_sized_graph(path: Path, nodes: Sequence[Any], constants: Mapping[str, Any]) -> Path:
    """Write a graph for RGB images of SIZE, with the shapes inside."""
    import onnx

    save_graph(path, nodes, constants, channels=3)
    model = onnx.load(path)
    for axis, size in enumerate(SIZE, 2):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def emit(made: Made, plan: QuantPlan, folder: Path) -> tuple[Artifact, dict[str, int]]:
    return LiteRtEmitter().emit(plan, made.onnx_path, made.source, made.images, folder)


def details_of(artifact: Artifact) -> dict[int, dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=(artifact.folder / artifact.files[0]).read_bytes())
    return {one["index"]: one for one in interpreter.get_tensor_details()}


def run(artifact: Artifact, image: NDArray[np.float32]) -> NDArray[np.float32]:
    runtime = find_runtime("litert")
    backend = runtime.load(replace(artifact, settings=runtime.runtime_settings("int8")))
    return backend.run(image)


def convolutions_of(artifact: Artifact) -> list[Any]:
    path = artifact.folder / artifact.files[0]
    return [one for one in read_tflite(path).operators if "CONV_2D" in one.kind]
