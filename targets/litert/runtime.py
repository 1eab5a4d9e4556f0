"""Runtime `litert`: TFLite models, run by LiteRT."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError
from edgeseg.formats.onnx import MODULE, fixed_shape
from edgeseg.formats.tflite import number_tensors, read_tflite, with_half_arithmetic
from edgeseg.lazy import provider_of, require, require_installed
from edgeseg.lower.rewrites import rewrites_for
from edgeseg.records import Artifact
from edgeseg.storage.temporary import temporary_folder

from ..base import FP32_TOLERANCE, HALF_FLAGS, Backend, Runtime, Written
from ..onnx_file import open_reference, read_typed_graph
from .benchmark_model import BenchmarkModel
from .conversion import (
    FAILURE,
    FLOAT_FILE,
    GRAPH_FILE,
    HALF,
    HALF_FILE,
    OWN,
    PLAIN,
    TRIAL,
    smooth_noise,
)
from .converter import CONVERTER
from .first_difference import first_difference
from .rewrites import prepare_for_onnx2tf
from .translation.preparation import prepare_for_translation

if TYPE_CHECKING:
    import onnx_ir as ir

MODEL_FILE = "model.tflite"
# XNNPACK adds sums up outside the convolutions, copies fast, and resizes maps of one channel well.
REWRITES = rewrites_for(
    "channels-last",
    without=(
        "depthwise-of-copies",
        "split-by-pointwise",
        "sum-into-pointwise",
        "resize-by-matrices",
        "concat-of-planes",
    ),
)
PURPOSE = "Building for litert"
HALF_VARIANT = "arithmetic in fp16"
FLOAT_TENSOR = {"layout": "NHWC", "dtype": "float32", "scale": None, "zero_point": None}
# Networks take pixels as 0..1, standardised, or as 0..255.
CHECK_SCALES = (1.0, 255.0)
# A network that was trained for other pixels can blow up rounding: what a change of all pixels by
# a millionth does tells by how much.
DISTURBANCE = 1e-6
NOISE_FACTOR = 10.0
LEAST_TOLERANCE = 1e-6  # float32 rounds probabilities by about a tenth of that
OPERATOR = re.compile(r"at operator '([^']+)'")  # as `conversion` tells where it failed


@dataclass(frozen=True)
class Attempt:
    """One way to convert a graph.

    Attributes:
        with_shapes: Show onnx2tf the shapes of inner tensors.
        trial: Let it choose layouts by trial on sample images.
        own: Convert without onnx2tf, by `translation`.
    """

    with_shapes: bool = False
    trial: bool = False
    own: bool = False

    @property
    def title(self) -> str:
        """What is asked, for messages."""
        if self.own:
            return "EdgeSeg's own translation"
        details = ["with shapes"] * self.with_shapes + ["with trials"] * self.trial
        return " ".join(["onnx2tf", " and ".join(details)]).strip()


# The first is right for convolutional networks and gives no needless transposes. The second and
# the third help with squeezed and reshaped tensors. The last guesses nothing; it comes last so that
# what has been built before stays the same bytes.
ATTEMPTS = (
    Attempt(),
    Attempt(with_shapes=True),
    Attempt(with_shapes=True, trial=True),
    Attempt(own=True),
)
ADVICE = "Write that part of the model in another way, or build for another --target."


class ConversionError(TargetError):
    """One attempt to convert a graph failed.

    Attributes:
        reason: What happened, without who converted and without the advice.
    """

    def __init__(self, who: str, reason: str, advice: str = ADVICE) -> None:
        self.reason = reason
        super().__init__(f"{who} {reason}. {advice}")


class LiteRtRuntime(Runtime):
    """FP32, FP16 weights and INT8 as one TFLite file of built-in operators.

    onnx2tf makes it, in a process of its own, from a graph that is rewritten first (see
    `rewrites`). It guesses where it does not know, so that what it gives is compared with ONNX
    Runtime each time. Where it fails, the graph is translated without it (see `translation`), and
    the result is compared in the same way.
    """

    name = "litert"
    devices = ("android", "web")
    title = "LiteRT (TFLite) with XNNPACK on Android and other ARM and x86 CPUs"
    artifact_format = "tflite"
    quantized_from = ("tflite",)
    plan_defaults: ClassVar[Mapping[str, str]] = {
        "zero_points": "true",
        "quantize_depthwise_outputs": "true",
        "bias_correction": "false",
    }
    compiled_precisions = ("fp32", "fp16")
    quantized_precisions = ("int8",)
    build_packages = ("onnx2tf",)
    run_packages = ("ai_edge_litert",)
    build_tools = ("tensorflow",)
    backend_module = "edgeseg.targets.runners.litert_backend"
    device_program = BenchmarkModel()
    profiler = "edgeseg.targets.profiling.litert:profile_layers"
    rewrites: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fp32": REWRITES,
        "fp16": REWRITES,
        "int8": REWRITES,
    }

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        require_installed(self.build_packages, purpose=PURPOSE)
        read_sized_graph(onnx_path)
        with temporary_folder("litert") as name:
            made = self._convert(onnx_path, Path(name), half=precision == "fp16")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MODEL_FILE).write_bytes(number_tensors(made.read_bytes()))
        return Written((MODEL_FILE,))

    def finish(self, artifact: Artifact) -> None:
        path = artifact.folder / MODEL_FILE
        path.write_bytes(number_tensors(path.read_bytes()))

    def compile_plain(self, onnx_path: Path, folder: Path) -> Artifact:
        require_installed(self.build_packages, purpose=PURPOSE)
        with temporary_folder("litert") as name:
            shutil.copyfile(onnx_path, Path(name) / GRAPH_FILE)
            convert_in_process(Path(name), onnx_path.name, [PLAIN])
            require_builtin_operators(Path(name) / FLOAT_FILE)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(name) / FLOAT_FILE, folder / MODEL_FILE)
        return self._artifact(folder, "fp32", Written((MODEL_FILE,)))

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        # INT8 models quantise their input and dequantise their output themselves.
        return {
            "delegate": "xnnpack",
            "input": dict(FLOAT_TENSOR),
            "output": dict(FLOAT_TENSOR),
        }

    def half_variants(
        self, precision: str, cpu_flags: Collection[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        return {HALF_VARIANT: {"arithmetic": "fp16"}} if {*HALF_FLAGS} <= {*cpu_flags} else {}

    def finish_variant(self, artifact: Artifact) -> None:
        if self.is_half(artifact.settings):
            path = artifact.folder / MODEL_FILE
            path.write_bytes(with_half_arithmetic(path.read_bytes()))

    def notes(self) -> tuple[str, ...]:
        runtime = provider_of("ai_edge_litert")
        require(f"{runtime}.interpreter", purpose="The runtime litert")
        return (f"runtime {runtime}",)

    def _convert(self, onnx_path: Path, folder: Path, *, half: bool) -> Path:
        """The first conversion that computes what the graph computes.

        Raises:
            TargetError: None does; the message tells why each does not.
        """
        errors: dict[Attempt, ConversionError] = {}
        for attempt in ATTEMPTS:
            made = folder / str(len(errors))
            made.mkdir()
            try:
                convert_graph(onnx_path, made, attempt, half=half)
                require_builtin_operators(made / FLOAT_FILE)
                self._require_equal_results(onnx_path, made / FLOAT_FILE, attempt.title)
            except ConversionError as error:
                errors[attempt] = error
            else:
                return made / (HALF_FILE if half else FLOAT_FILE)
        raise error_of(onnx_path.name, errors)

    def _require_equal_results(self, onnx_path: Path, tflite_path: Path, title: str) -> None:
        """Compare on images made of smooth noise.

        Args:
            title: Of what converted, for the message.

        Raises:
            ConversionError: Names the first operator that differs.
        """
        converted = self._artifact(tflite_path.parent, "fp32", Written((tflite_path.name,)))
        backend = self.load(converted)
        session = open_reference(onnx_path)
        source = session.get_inputs()[0]
        for scale in CHECK_SCALES:
            _, channels, *size = source.shape
            pixels = smooth_noise(*size, channels=channels) * np.float32(scale)
            image = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
            (expected,) = session.run(None, {source.name: image})
            nearby = session.run(None, {source.name: image * np.float32(1 + DISTURBANCE)})[0]
            noise = float(np.abs(nearby - expected).max())
            # Masks that hardly differ from one value hide another network within that tolerance.
            spread = float(expected.max() - expected.min())
            allowed = max(FP32_TOLERANCE * min(spread, 1), noise * NOISE_FACTOR, LEAST_TOLERANCE)
            difference = _largest_difference(expected, backend, image)
            if not difference <= allowed:
                first = first_difference(onnx_path, tflite_path, image)
                where = (
                    f"the first operator whose result differs is {first}"
                    if first
                    else "each operator by itself computes the same"
                )
                raise ConversionError(
                    title,
                    f"made another network of {onnx_path.name}: a probability differs by "
                    f"up to {difference:.1e}, allowed is {allowed:.0e}; {where}",
                )


def error_of(title: str, errors: Mapping[Attempt, ConversionError]) -> TargetError:
    """What failed, from all attempts; a reason that several share is told once.

    Args:
        title: Of the graph.
    """
    askers: dict[str, list[str]] = {}
    for attempt, error in errors.items():
        askers.setdefault(error.reason, []).append(attempt.title)
    if len(askers) == 1:
        return next(iter(errors.values()))
    told = "; ".join(
        f"({number}) {', '.join(who)} {reason}"
        for number, (reason, who) in enumerate(askers.items(), 1)
    )
    return TargetError(f"No way to convert {title} to TFLite works: {told}. {ADVICE}")


def read_sized_graph(onnx_path: Path) -> ir.Model:
    """The graph with the types of all values, for images of one size.

    Raises:
        TargetError: The file is no valid ONNX graph, or a size is left open.
    """
    model = read_typed_graph(onnx_path)
    (image,) = model.graph.inputs
    if fixed_shape(image) is None:
        raise TargetError(
            f"The input '{image.name}' of {onnx_path.name} has the shape {image.shape}; TFLite "
            "wants fixed sizes. Export it with a fixed input size."
        )
    return model


def convert_graph(onnx_path: Path, folder: Path, attempt: Attempt, *, half: bool) -> None:
    """Convert a graph in another process; FLOAT_FILE and HALF_FILE come to `folder`.

    Raises:
        ConversionError: The converter gave up; the message says at which operator.
    """
    model = read_sized_graph(onnx_path)
    modules = {
        str(node.name): str(node.metadata_props[MODULE])
        for node in model.graph
        if MODULE in node.metadata_props
    }
    if attempt.own:
        prepare_for_translation(model)
    else:
        prepare_for_onnx2tf(model, with_shapes=attempt.with_shapes, own_opset=attempt.trial)
    require("onnx_ir", purpose=PURPOSE).save(model, folder / GRAPH_FILE)
    switches = {HALF: half, TRIAL: attempt.trial, OWN: attempt.own}
    asked = [name for name, is_on in switches.items() if is_on]
    try:
        convert_in_process(folder, onnx_path.name, asked, attempt.title)
    except ConversionError as error:
        raise ConversionError(attempt.title, with_modules(error.reason, modules)) from error


def with_modules(reason: str, modules: Mapping[str, str]) -> str:
    """A reason in which the user's module stands behind the operator that is named.

    Args:
        modules: By name of operator.
    """

    def told(match: re.Match[str]) -> str:
        module = modules.get(match[1])
        return f"{match[0]} of module '{module}'" if module else match[0]

    return OPERATOR.sub(told, reason)


def convert_in_process(
    folder: Path, title: str, switches: list[str], converter: str = "onnx2tf"
) -> None:
    """Let another process convert GRAPH_FILE in `folder`.

    Args:
        title: Of the graph, for the message.
        switches: Of `convert_and_tell`.
        converter: Who converts, for the message.

    Raises:
        ConversionError: It gave up; the message says at which operator.
    """
    code, said = CONVERTER.convert(folder, switches)
    if code != 0:
        lines = said.strip().splitlines() or [f"it ended with code {code}"]
        reasons = [line.removeprefix(FAILURE) for line in lines if line.startswith(FAILURE)]
        reason = (reasons or lines)[-1][:400].strip().rstrip(".")
        raise ConversionError(converter, f"does not convert {title}: {reason}")


def require_builtin_operators(path: Path) -> None:
    """Refuse a model that needs more than the ordinary runtime.

    Raises:
        ConversionError: Names the operators.
    """
    custom = sorted({operator.custom_name for operator in read_tflite(path).operators} - {""})
    if custom:
        raise ConversionError(
            "The graph",
            f"needs {', '.join(custom)}, which TFLite does not have built in and phones do not run",
            "Replace that operation in the model, or build for another --target.",
        )


def _largest_difference(
    expected: NDArray[np.float32], backend: Backend, image: NDArray[np.float32]
) -> float:
    got = backend.run(image)
    return float(np.abs(got - expected).max()) if got.shape == expected.shape else np.inf
