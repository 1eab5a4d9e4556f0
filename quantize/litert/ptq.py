"""Post-training quantisation of TFLite models by ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError, EdgesegError, reason_of
from edgeseg.formats.tflite import Operator, TfliteModel, observe_tensors, read_tflite
from edgeseg.lazy import installed_version, require, require_installed
from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord

from ..base import MethodOptions, Quantizer
from ..calibration_images import CalibrationImages
from .dead_filters import hold_biases
from .quantized_values import MOVED_QUANTIZED, move_quantized

PURPOSE = "Quantising for litert"
CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
# They only move values, or add zeros: rounding before or after them gives the same result.
MOVING = frozenset(
    {"MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE"}
    | {"TRANSPOSE"}
)
# Next to the variance of a norm, whose small values INT8 would round to zero.
ROOTS = frozenset({"SQRT", "RSQRT"})
INVERSES = frozenset({"DIV", "RSQRT"})
# XNNPACK adds quantized values in about the time that a conversion takes.
SUMS = frozenset({"ADD"})
# ai-edge-quantizer's own names, where they differ from TFLite's.
QUANTIZER_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}

# Smallest and largest value of each tensor, by its index.
Ranges = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class LiteRtOptions(MethodOptions):
    """
    Attributes:
        sums: Whether sums of INT8 values are INT8 too.
    """

    sums: bool = True


class LiteRtQuantizer(Quantizer):
    """Quantizes convolutions and their sums, and leaves other operators in float.

    Activations are int8 with a range each; weights are int8 and symmetric, with one scale for each
    output channel. By default ai-edge-quantizer would quantize all operators that it can, also
    those of norms, which would divide by a variance that was rounded to 0. Concatenations and
    resizing stay in float too, as INT8 forces one range on their inputs. The last convolutions stay
    in float because they compute the logits, whose rounding would flip pixels near the threshold.

    Ranges are minima and maxima over the calibration images. Source: Jacob et al. 2018,
    arXiv:1712.05877.
    """

    name = "ai-edge-quantizer"
    artifact_format = "tflite"
    packages = ("ai_edge_quantizer", "ai_edge_litert")
    options_class = LiteRtOptions
    comparable_options: ClassVar[Mapping[str, str]] = {"sums": "false"}
    options: LiteRtOptions

    def settings(self) -> dict[str, Any]:
        return {
            "activation_bits": 8,
            "weight_bits": 8,
            "weight_granularity": "CHANNELWISE",
            "ranges": "min_max",
            "operators": sorted(CONVOLUTIONS | self._followers),
        }

    @property
    def _followers(self) -> frozenset[str]:
        """Kinds of operators that are INT8 if their neighbours are."""
        return MOVING | SUMS if self.options.sums else MOVING

    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        require_installed(self.packages, purpose=PURPOSE)
        path = artifact.folder / artifact.files[0]
        try:
            model = read_tflite(path)
            chosen = choose_int8_operators(model, self._followers)
            with progress.stage("quantise with ai-edge-quantizer", total=len(images)) as stage:
                ranges: Ranges = {}
                for values in observe_tensors(path, images, tensors_of(model, chosen)):
                    widen_ranges(ranges, values)
                    stage.advance()
                widen_empty_ranges(ranges)
                content = self._quantized(path, model, chosen, ranges)
        except EdgesegError:
            raise
        except Exception as error:
            # ai-edge-quantizer raises plain kinds, and so does the interpreter.
            raise CalibrationError(
                f"ai-edge-quantizer cannot quantise {path.name}: "
                f"{reason_of(error)}. Build with --precision fp32."
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        (folder / artifact.files[0]).write_bytes(move_quantized(content))
        version = installed_version("ai_edge_quantizer") or "unknown"
        made = artifact.quantized(folder, ai_edge_quantizer=version)
        layers = count_layers(model, chosen, read_tflite(folder / artifact.files[0]))
        return made, QuantizationRecord(self.name, self.settings(), images.digests, layers)

    def _quantized(
        self, path: Path, model: TfliteModel, chosen: Sequence[Operator], ranges: Ranges
    ) -> bytes:
        manager = require("ai_edge_quantizer.recipe_manager", purpose=PURPOSE).RecipeManager()
        quantizer = require("ai_edge_quantizer.quantizer", purpose=PURPOSE)
        names = require("ai_edge_quantizer.qtyping", purpose=PURPOSE).TFLOperationName
        settings = self.settings()
        for kind in sorted({operator.kind for operator in chosen}):
            # An operator goes by the names of its results, each with a semicolon behind it.
            labels = [
                "".join(f"{re.escape(model.names[index])};" for index in operator.outputs)
                for operator in chosen
                if operator.kind == kind
            ]
            manager.add_static_config(
                f"^(?:{'|'.join(labels)})$",
                names(QUANTIZER_NAMES.get(kind, kind)),
                activation_num_bits=settings["activation_bits"],
                weight_num_bits=settings["weight_bits"],
            )
        calibration = {
            model.names[index]: {"min": np.array([least]), "max": np.array([most])}
            for index, (least, most) in ranges.items()
        }
        with _quiet():
            content = hold_biases(path.read_bytes(), chosen, ranges)
            made = quantizer.Quantizer(content, manager.get_quantization_recipe())
            return bytes(made.quantize(calibration).quantized_model)


def choose_int8_operators(
    model: TfliteModel, followers: Collection[str] = MOVING
) -> list[Operator]:
    """Convolutions with constant weights, except the last ones, and operators that follow them.

    Args:
        followers: Kinds of operators that become INT8 next to INT8 operators: sums if all summands
            are INT8, others also if all their readers are.

    Raises:
        CalibrationError: There is no such convolution.
    """
    readers: dict[int, list[Operator]] = {}
    maker: dict[int, Operator] = {}
    for operator in model.operators:
        maker.update(dict.fromkeys(operator.outputs, operator))
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    before_another: set[int] = set()  # tensors that a convolution is computed from
    chosen: set[Operator] = set()
    for operator in reversed(model.operators):
        is_convolution = operator.kind in CONVOLUTIONS and operator.inputs[1] in model.constants
        if before_another.intersection(operator.outputs):
            before_another.update(operator.inputs)
            if is_convolution and not _is_statistic(operator, maker, readers):
                chosen.add(operator)
        elif is_convolution:
            before_another.update(operator.inputs)
    if not chosen:
        raise CalibrationError(
            "The network has no convolution before another one, and the last ones stay in float: "
            "nothing would be INT8. Build with --precision fp32."
        )
    moving = [operator for operator in model.operators if operator.kind in followers]
    for operator in (*moving, *reversed(moving)):
        if operator.kind in SUMS:
            fits = all(_origin(index, maker) in chosen for index in operator.inputs)
        else:
            inputs = set(operator.inputs) - model.constants
            uses = [reader for index in operator.outputs for reader in readers.get(index, ())]
            fits = chosen.issuperset(maker.get(index) for index in inputs) or (
                bool(uses) and chosen.issuperset(uses)
            )
        if fits:
            chosen.add(operator)
    return [operator for operator in model.operators if operator in chosen]


def _is_statistic(
    operator: Operator, maker: Mapping[int, Operator], readers: Mapping[int, Sequence[Operator]]
) -> bool:
    """Whether a convolution computes the variances of a norm, or reads their inverse roots."""
    source = maker.get(operator.inputs[0])
    uses = [reader.kind for index in operator.outputs for reader in readers.get(index, ())]
    return bool(ROOTS.intersection(uses)) or (source is not None and source.kind in INVERSES)


def _origin(index: int, maker: Mapping[int, Operator]) -> Operator | None:
    """The operator that computed the values of a tensor, before others moved them."""
    operator = maker.get(index)
    while operator is not None and operator.kind in MOVED_QUANTIZED:
        operator = maker.get(operator.inputs[0])
    return operator


def tensors_of(model: TfliteModel, operators: Sequence[Operator]) -> list[int]:
    """Indices of the tensors that need a range."""
    touched = {index for one in operators for index in (*one.inputs, *one.outputs)}
    return sorted(touched - model.constants)


def widen_ranges(ranges: Ranges, values: Mapping[int, NDArray[np.float32]]) -> None:
    """Widen ranges in place, so that they cover some values.

    Raises:
        CalibrationError: A value is NaN or infinite.
    """
    for index, value in values.items():
        least, most = float(value.min()), float(value.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise CalibrationError(
                f"A value inside the network (tensor {index}) is NaN or infinite on a calibration "
                "image. Use another checkpoint."
            )
        known = ranges.get(index, (least, most))
        ranges[index] = (min(least, known[0]), max(most, known[1]))


def widen_empty_ranges(ranges: Ranges) -> None:
    """Give tensors that were zero in all images the widest range of all, in place.

    Zero is exact in any range, and the runtime takes no empty one. What never fired may still fire
    on another image.

    Raises:
        CalibrationError: All are zero.
    """
    widest = max((max(abs(low), abs(high)) for low, high in ranges.values()), default=1.0)
    if not widest > 0:
        raise CalibrationError(
            "Every value inside the network is zero on all calibration images. Use another "
            "checkpoint, or build with --precision fp32."
        )
    for index, (low, high) in ranges.items():
        if low == high == 0:
            ranges[index] = (0.0, widest)


def count_layers(
    model: TfliteModel, chosen: Sequence[Operator], quantized: TfliteModel
) -> dict[str, int]:
    """Numbers of INT8 and float operators of the float model, in all and by kind, and of
    conversions that were added between them."""
    inside = set(chosen)
    kinds = Counter(
        f"{'int8' if operator in inside else 'float'}_{operator.kind.lower()}"
        for operator in model.operators
    )
    conversions = Counter(operator.kind for operator in quantized.operators)
    return {
        "int8": len(inside),
        "float": len(model.operators) - len(inside),
        "conversions": conversions["QUANTIZE"] + conversions["DEQUANTIZE"],
        **dict(sorted(kinds.items())),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the output, log and warnings of ai-edge-quantizer; failures raise exceptions."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
