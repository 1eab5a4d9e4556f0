"""The contract in words: how a pixel goes in, and how a probability comes out.

Whoever prepares images in another language reads these sentences; `edgeseg.contract` is the same
as code. What was misread in other projects is said in full: whose minimum and maximum, in which
order, with which kernel, and what the output already is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract import GREY_SHARES, WHITE, InputContract, MinMax, OutputContract

FLOAT_TENSOR = {"layout": "NCHW", "dtype": "float32"}
KERNEL = (
    "Output sample i of a line of N samples, made of n, is the weighted mean of input samples j, "
    "with scale = n / N, support = max(scale, 1), centre = (i + 0.5) * scale and weight(j) = "
    "max(0, 1 - |j + 0.5 - centre| / support), for j from max(0, floor(centre - support + 0.5)) to "
    "min(n, floor(centre + support + 0.5)) - 1; the weights are divided by their sum. A line whose "
    "length stays is copied. Weights are computed in double precision, sums in float32"
)


def tensor_form(settings: Mapping[str, Any], end: str) -> dict[str, Any]:
    """Layout and type of the artefact's own tensor at an `end`, "input" or "output".

    Args:
        settings: Of the artefact, as in the manifest; runtimes that say nothing take NCHW floats.
    """
    form = settings.get(end)
    is_told = isinstance(form, Mapping) and "layout" in form
    return dict(form) if is_told and isinstance(form, Mapping) else dict(FLOAT_TENSOR)


def input_words(inputs: InputContract, form: Mapping[str, Any]) -> tuple[str, ...]:
    """What to do with a file until it is the input tensor, a sentence or two a step."""
    size = f"{inputs.height} rows of {inputs.width} columns"
    return (
        "Decode: take the pixels as the file holds them, 0..255, without a colour profile and "
        "without gamma, and turn the picture upright as its EXIF orientation says.",
        *_window(inputs),
        _colour(inputs),
        f"Resize to {size}, whatever the picture's size and shape: it is stretched, neither "
        f"cropped nor padded. First the rows, then the columns; no rounding to whole numbers. "
        f"{KERNEL}. "
        "Where it shrinks, this is what libraries call bilinear with antialias; scaling of a "
        "canvas, OpenCV's INTER_LINEAR and Android's createScaledBitmap compute something else.",
        *_deep(inputs),
        _normalization(inputs),
        _tensor(inputs.name, (inputs.channels, inputs.height, inputs.width), form, "input"),
    )


def _window(inputs: InputContract) -> tuple[str, ...]:
    if inputs.window is None:
        return ()
    if isinstance(inputs.window, str):
        how = "the file's own window (DICOM's window centre and width, NIfTI's cal_min and cal_max)"
        return (f"Window: values of a scanner become 0..65535 by {how}.",)
    centre, width = inputs.window
    return (
        f"Window: values of a scanner, after the file's own rescale, become 0..65535: "
        f"65535 * (value - {centre - width / 2:g}) / {width:g}, cut to the range and rounded.",
    )


def _colour(inputs: InputContract) -> str:
    if inputs.channels == 3:
        return (
            "Colour: three channels in the order red, green, blue. Alpha is dropped, not blended; "
            "grey pictures repeat their value."
        )
    if inputs.channels == 1:
        red, green, blue = GREY_SHARES
        return (
            f"Colour: one channel. grey = ({red} * red + {green} * green + {blue} * blue + 32768) "
            "/ 65536, rounded down to a whole number before the resize. Alpha is dropped."
        )
    return f"Colour: {inputs.channels} channels, in the order and with the values of the file."


def _deep(inputs: InputContract) -> tuple[str, ...]:
    white = inputs.white or WHITE
    return (
        f"Pictures of 16 bits: larger values than {white} become {white}, and the resized values "
        f"are divided by {white} / 255.",
    )


def _normalization(inputs: InputContract) -> str:
    how = inputs.normalization
    if isinstance(how, MinMax):
        return (
            f"Normalise each picture by its own extremes: value = (pixel - min) * ({how.high:g} - "
            f"{how.low:g}) / (max - min) + {how.low:g}, where min and max are the smallest and "
            "largest value of this resized picture, over all pixels and all channels together. "
            f"Where max equals min, every value is {how.low:g}. There is no division by 255."
        )
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    return (
        "Normalise by constants: value = (pixel / 255 - mean) / std, with mean = "
        f"({mean}) and std = ({std}) by channel. Nothing depends on the picture."
    )


def _tensor(name: str, shape: tuple[int, int, int], form: Mapping[str, Any], end: str) -> str:
    channels, height, width = shape
    is_last = form["layout"] == "NHWC"
    order = (1, height, width, channels) if is_last else (1, channels, height, width)
    place = "the channels of a pixel side by side" if is_last else "one plane for each channel"
    text = (
        f"The {end} tensor '{name}' of the artefact is {form['dtype']}, {form['layout']}, "
        f"{order}: {place}."
    )
    if form.get("scale") is not None:  # floats may say that they have none
        text += (
            f" real = {form['scale']!r} * (quantized - {form['zero_point']}), so that quantized = "
            "real / scale + zero point, rounded and cut to the type's range."
        )
    return text


def output_words(
    outputs: OutputContract, size: tuple[int, int], form: Mapping[str, Any]
) -> tuple[str, ...]:
    """What to do with the output tensor until it is a mask, a sentence or two a step.

    Args:
        size: (height, width) of the output.
    """
    names = ", ".join(f"{index} {name}" for index, name in enumerate(outputs.classes))
    if outputs.channels == 1:
        meaning = (
            f"The values are probabilities of '{outputs.classes[1]}' already, 0..1. Apply no "
            "sigmoid."
        )
        cut = (
            f"Label: 1 where the resized probability is at least {outputs.threshold:g}, else 0 "
            f"({names})."
        )
    else:
        meaning = (
            "The values are probabilities already, one channel for each class, which add up to 1. "
            "Apply no softmax."
        )
        cut = (
            "Label: the index of the largest of the resized probabilities, the first one where "
            f"several are equal ({names})."
        )
    return (
        _tensor(outputs.name, (outputs.channels, *size), form, "output"),
        meaning,
        "Back to the picture: resize the probabilities, not the labels, to the rows and columns of "
        "the upright picture, with the same kernel as the input.",
        cut,
        "A mask with NaN or infinity is an error of the network, not background.",
    )


def contract_words(
    inputs: InputContract, outputs: OutputContract, settings: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Both ends in words, for the manifest.

    Args:
        settings: Of the artefact, as in the manifest.
    """
    size = inputs.height, inputs.width
    return {
        "input": input_words(inputs, tensor_form(settings, "input")),
        "output": output_words(outputs, size, tensor_form(settings, "output")),
    }
