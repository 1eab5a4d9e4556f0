"""Layers of LiteRT: what its profiler counts, laid beside the operators of the file."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from edgeseg.formats.tflite import TfliteModel, read_tflite
from edgeseg.records import LayerProfile, LayerTime

from ..base import ProfileRequest
from .litert_counters import OPERATOR, Event, count_in_process
from .litert_origins import find_origins

# What XNNPACK calls the operators that TFLite calls otherwise; else the words are the same.
OTHER_WORDS = {
    "BATCH_MATMUL": ("batch matrix multiply",),
    "CONCATENATION": ("copy", "concatenate"),
    "CONV_2D": ("convolution", "fully connected"),
    "DEPTHWISE_CONV_2D": ("convolution",),
    "DEQUANTIZE": ("convert",),
    "EXPAND_DIMS": ("copy", "reshape"),
    "GELU": ("gelu", "invalid unary op"),
    "LEAKY_RELU": ("leaky relu", "invalid unary op"),
    "LOGISTIC": ("sigmoid", "invalid unary op"),
    "MEAN": ("mean", "global average pooling"),
    "MUL": ("multiply", "square"),
    "NEG": ("negate",),
    "PAD": ("constant pad",),
    "PADV2": ("constant pad",),
    "QUANTIZE": ("convert",),
    "RELU": ("clamp",),
    "RELU6": ("clamp",),
    "RELU_N1_TO_1": ("clamp",),
    "RESHAPE": ("copy", "reshape"),
    "RSQRT": ("reciprocal square root",),
    "SPLIT": ("copy", "split", "slice"),
    "SPLIT_V": ("copy", "split", "slice"),
    "SQRT": ("square root",),
    "SQUEEZE": ("copy", "reshape"),
    "STRIDED_SLICE": ("slice", "static slice", "copy"),
    "SLICE": ("slice", "static slice", "copy"),
    "SUB": ("subtract",),
    "TANH": ("tanh", "invalid unary op"),
    "TRANSPOSE_CONV": ("deconvolution",),
}
# Shortenings of the other runtime's words, as one looks for the beginning of a tag.
BEGINNINGS = {"div": "divide", "average pool 2d": "average pooling", "max pool 2d": "max pooling"}
PRECISION = re.compile(r"\b(?:(F32)|(F16)|(Q[SCUD]\w*8\w*|[SU]8)|(X\d+))\b")
PRECISIONS = ("f32", "f16", "i8")
TYPES = {"FLOAT32": "f32", "FLOAT16": "f16", "INT8": "i8", "UINT8": "u8", "INT32": "i32"}
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")  # which a quantiser added


def profile_layers(request: ProfileRequest) -> LayerProfile:
    """Time a TFLite model; see `Runtime.profile`."""
    artifact = request.artifact
    path = artifact.folder / artifact.files[0]
    told = count_in_process(path, dict(artifact.settings), request.image, request.runs)
    model = read_tflite(path)
    origins = find_origins(request.graph_path, model, path, request.image)
    titles = [f"{operator.kind} {place}" for place, operator in enumerate(model.operators)]
    places = lay_beside(told.events, model)
    reads = _reads_of(model, {*places})
    layers = []
    for event, place in zip(told.events, places, strict=True):
        operator = model.operators[place]
        layers.append(
            LayerTime(
                titles[place],
                event.tag,
                _precision_of(event.tag, model.types[operator.outputs[0]]),
                event.milliseconds,
                () if operator.kind in CONVERSIONS else origins[place],
                tuple(titles[source] for source in reads[place]),
            )
        )
    return LayerProfile(tuple(layers), told.run_ms, told.counted_ms)


def _reads_of(model: TfliteModel, timed: Collection[int]) -> list[tuple[int, ...]]:
    """The operators whose results each operator reads; in the place of those that the delegate
    fused into others stands what they read.

    Args:
        timed: Places of the operators that were not fused away.
    """
    made_by: dict[int, tuple[int, ...]] = {}
    reads = []
    for place, operator in enumerate(model.operators):
        sources = [one for tensor in operator.inputs for one in made_by.get(tensor, ())]
        reads.append(tuple(dict.fromkeys(sources)))
        told = (place,) if place in timed else reads[-1]
        made_by.update(dict.fromkeys(operator.outputs, told))
    return reads


def lay_beside(events: Sequence[Event], model: TfliteModel) -> list[int]:
    """The operator that each event is of.

    Events come in the order of the operators. A delegate leaves operators out, such as those that
    it folds, and adds some: an event of which no operator has the kind is of the last one before.
    """
    kinds = [operator.kind for operator in model.operators]
    fits = np.array([[_fits(event, kind, at) for at, kind in enumerate(kinds)] for event in events])
    # longest[i, j] is how many of the events from i on fit to operators from j on, in order.
    longest = np.zeros((len(events) + 1, len(kinds) + 1), np.int32)
    for i in reversed(range(len(events))):
        paired = np.where(fits[i], longest[i + 1, 1:] + 1, 0)
        best = np.maximum(paired, longest[i + 1, :-1])
        longest[i, :-1] = np.maximum.accumulate(best[::-1])[::-1]
    places, at = [], 0
    for i in range(len(events)):
        # The first that fits is taken, as long as that leaves as many to those that come after.
        taken = fits[i, at:] & (longest[i + 1, at + 1 :] + 1 == longest[i, at])
        if taken.any():
            at += int(taken.argmax()) + 1
        places.append(max(at - 1, 0))
    return places


def _fits(event: Event, kind: str, place: int) -> bool:
    if event.kind == OPERATOR:
        return event.number == place
    words = kind.lower().replace("_", " ")
    begin = OTHER_WORDS.get(kind, (BEGINNINGS.get(words, words),))
    return event.tag.lower().startswith(begin)


def _precision_of(tag: str, result: str) -> str:
    """What a tag tells; else that of the result."""
    found = PRECISION.search(tag)
    told = () if found is None else found.groups()[: len(PRECISIONS)]
    for precision, match in zip(PRECISIONS, told, strict=False):
        if match:
            return precision
    return TYPES.get(result, result.lower())
