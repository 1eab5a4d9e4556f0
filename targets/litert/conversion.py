"""Runs onnx2tf and TensorFlow, in a process of `converter`: with TensorFlow come threads, log lines
and its own copies of native libraries, which do not go well beside torch and OpenVINO.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError
from edgeseg.lazy import require

from .translation.rules import function_of

PURPOSE = "Building for litert"
GRAPH_FILE = "model.onnx"
FLOAT_FILE = "float.tflite"
HALF_FILE = "half.tflite"
HALF, TRIAL, PLAIN, OWN = "half", "trial", "plain", "own"
FAILURE = "edgeseg: "  # begins the line of standard error that says why
LEFT_OF_GELU = "tf.Erfc"  # in the message of TensorFlow's converter
SIGNATURE_OUTPUT = "mask"
# Of 20 images (128, 128, 3) in 0..1. onnx2tf downloads it where it is not in the working folder.
SAMPLE_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"


def convert(onnx_path: Path, folder: Path, *, half: bool, trial: bool) -> None:
    """Write an ONNX file as TFLite, NHWC, with float input and output and a signature.

    Operators that TFLite lacks come out as those of TensorFlow ("Flex"), for the caller to refuse.

    Args:
        folder: Receives FLOAT_FILE; it is the working folder.
        half: Write HALF_FILE, whose weights are in half precision, too.
        trial: Let onnx2tf choose layouts by what comes nearest on sample images. That takes
            minutes for a large network, and is wrong at times.
    """
    np.save(folder / SAMPLE_FILE, np.stack([smooth_noise(128, 128, seed) for seed in range(20)]))
    onnx2tf = require("onnx2tf", purpose=PURPOSE)
    tensorflow = require("tensorflow", purpose=PURPOSE)
    model = onnx2tf.convert(
        input_onnx_file_path=str(onnx_path),
        output_folder_path=str(folder / "onnx2tf"),
        # Would run a program, if there is one, that names and folds differently by version.
        not_use_onnxsim=True,
        not_use_opname_auto_generate=True,
        disable_strict_mode=not trial,
        disable_model_save=True,
        non_verbose=True,
    )
    (image,) = model.inputs
    _write(tensorflow, model, image.shape, folder, half=half, reads_source=True)


def convert_own(onnx_path: Path, folder: Path, *, half: bool) -> None:
    """As `convert`, without onnx2tf.

    Args:
        onnx_path: Prepared by `prepare_for_translation`.

    Raises:
        TargetError: An operator is not known.
    """
    tensorflow = require("tensorflow", purpose=PURPOSE)
    model = require("onnx_ir", purpose=PURPOSE).load(onnx_path)
    count, channels, height, width = model.graph.inputs[0].shape
    shape = (count, height, width, channels)
    for fuses_gelu in (True, False):
        function = function_of(model, tensorflow, fuses_gelu=fuses_gelu)
        try:
            _write(tensorflow, function, shape, folder, half=half, reads_source=False)
        except Exception as error:
            # One Gelu among other operators on the same values can be left over.
            if not fuses_gelu or LEFT_OF_GELU not in str(error):
                raise
        else:
            return


def _write(
    tensorflow: Any, model: Any, shape: Any, folder: Path, *, half: bool, reads_source: bool
) -> None:
    """Write FLOAT_FILE and HALF_FILE of a function from NHWC to NHWC.

    Args:
        reads_source: Let TensorFlow read the source of the function, in search of loops.
    """
    module, function = _with_signature(tensorflow, model, shape, reads_source=reads_source)
    (folder / FLOAT_FILE).write_bytes(_tflite_of(tensorflow, module, function, half=False))
    if half:
        (folder / HALF_FILE).write_bytes(_tflite_of(tensorflow, module, function, half=True))


def convert_plain(onnx_path: Path, folder: Path) -> None:
    """As `convert`, with onnx2tf's own settings throughout."""
    np.save(folder / SAMPLE_FILE, np.stack([smooth_noise(128, 128, seed) for seed in range(20)]))
    onnx2tf = require("onnx2tf", purpose=PURPOSE)
    made = folder / "onnx2tf"
    onnx2tf.convert(
        input_onnx_file_path=str(onnx_path), output_folder_path=str(made), non_verbose=True
    )
    (made / f"{onnx_path.stem}_float32.tflite").replace(folder / FLOAT_FILE)


def _tflite_of(tensorflow: Any, module: Any, function: Any, *, half: bool) -> bytes:
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.target_spec.supported_ops = [
        tensorflow.lite.OpsSet.TFLITE_BUILTINS,
        tensorflow.lite.OpsSet.SELECT_TF_OPS,
    ]
    if half:
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tensorflow.float16]
    return bytes(converter.convert())


def smooth_noise(
    height: int, width: int, seed: int = 0, *, channels: int = 3
) -> NDArray[np.float32]:
    """An image (height, width, channels) in 0..1, the same each time: blobs and a little grain."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 1, (8, 8, channels))
    rows, columns = (np.arange(size) * 8 // size for size in (height, width))
    grain = generator.normal(0, 0.05, (height, width, channels))
    return np.asarray(np.clip(coarse[rows][:, columns] + grain, 0, 1), np.float32)


def _with_signature(
    tensorflow: Any, model: Any, shape: Any, *, reads_source: bool
) -> tuple[Any, Any]:
    """The model as a function from NHWC image to NHWC mask, and a module that holds it.

    The module holds the function and its variables only: with the Keras model, TensorFlow would
    write all weights as JSON.
    """
    module = tensorflow.Module()
    specification = tensorflow.TensorSpec(shape, tensorflow.float32, name="image")

    def predict(image: Any) -> dict[str, Any]:
        return {SIGNATURE_OUTPUT: model(image)}

    module.predict = tensorflow.function(
        predict, input_signature=[specification], autograph=reads_source
    )
    function = module.predict.get_concrete_function()
    module.variables_of_function = list(function.variables)
    return module, function


def convert_and_tell(switches: Collection[str]) -> int:
    """Convert GRAPH_FILE in the working folder; a failure is told on standard error.

    Args:
        switches: HALF, TRIAL (see `convert`), PLAIN (see `convert_plain`) and OWN (see
            `convert_own`).

    Returns:
        The exit status.
    """
    try:
        if PLAIN in switches:
            convert_plain(Path(GRAPH_FILE), Path())
        elif OWN in switches:
            convert_own(Path(GRAPH_FILE), Path(), half=HALF in switches)
        else:
            convert(Path(GRAPH_FILE), Path(), half=HALF in switches, trial=TRIAL in switches)
    except TargetError as error:
        # The advice comes with the message that the other process makes of it.
        print(f"{FAILURE}{error.args[0].partition('. Write ')[0]}", file=sys.stderr, flush=True)
        return 1
    except (Exception, SystemExit) as error:
        # onnx2tf ends the process where it gives up.
        name = getattr(error, "onnx_op_name", None)
        place = f"at operator '{name}': " if name else ""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{FAILURE}{place}{reason}", file=sys.stderr, flush=True)
        return 1
    return 0
