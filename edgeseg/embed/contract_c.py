"""The contract in C: what prepares pictures and restores masks in kits and in compiled networks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contract import WHITE, InputContract, MinMax, OutputContract
from .surface import SOURCES, Kit, fill

FOLDER = SOURCES / "c"
HEADER = "edgeseg_contract.h"
LONGEST_SIDE = 8192  # of pictures, in pixels
COMMENT_WIDTH = 96


@dataclass(frozen=True)
class TensorPlace:
    """Where the values of a tensor lie in memory, in floats.

    Attributes:
        shape: (channels, height, width).
        first: Of the first value.
        plane, pitch, step: From a channel, a row or a column to the next.
    """

    shape: tuple[int, int, int]
    first: int
    plane: int
    pitch: int
    step: int = 1

    @classmethod
    def without_gaps(cls, shape: tuple[int, int, int], layout: str) -> TensorPlace:
        """Of a tensor whose layout is "NCHW" or "NHWC"."""
        channels, height, width = shape
        if layout == "NHWC":
            return cls(shape, 0, 1, width * channels, channels)
        return cls(shape, 0, height * width, width)


def constants_text(
    inputs: InputContract, outputs: OutputContract, image: TensorPlace, mask: TensorPlace
) -> str:
    """C that defines what `pixels_text` asks for."""
    lines = []
    for name, place in (("IMAGE", image), ("MASK", mask)):
        sizes = zip(("CHANNELS", "HEIGHT", "WIDTH"), place.shape, strict=True)
        lines += [f"#define EDGESEG_{name}_{axis} {size}" for axis, size in sizes]
        lines += [
            f"#define EDGESEG_{name}_STEP {place.step} /* floats from a column to the next */",
            f"#define EDGESEG_{name}_AT(K, Y, X) "
            f"({place.first} + (K) * {place.plane} + (Y) * {place.pitch} + (X) * {place.step})",
        ]
    return "\n".join(
        [
            *lines,
            f"#define EDGESEG_LONGEST_SIDE {LONGEST_SIDE} /* of a picture, in pixels */",
            f"#define EDGESEG_WHITE {inputs.white or WHITE}u /* in pictures of 16 bits */",
            f"#define EDGESEG_THRESHOLD {c_float(outputs.threshold)}",
        ]
    )


def formats_text(inputs: InputContract | None) -> str:
    """C that names the formats of pictures; None where nothing is known of them."""
    text = (FOLDER / "formats.h").read_text(encoding="utf-8")
    return fill(text, {"WHITE": str((inputs and inputs.white) or WHITE)})


def pixels_text(inputs: InputContract) -> str:
    """The functions, which follow `constants_text` and `formats_text`."""
    statements, value = _normalization(inputs)
    text = (FOLDER / "pixels.c").read_text(encoding="utf-8")
    return fill(text, {"NORMALIZATION": statements, "NORMALIZED": value})


def contract_header(kit: Kit) -> str:
    """The header that a kit carries; it needs no other file."""
    inputs, outputs = kit.bundle.inputs, kit.bundle.outputs
    return header_text(inputs, outputs, kit.contract)


def header_text(inputs: InputContract, outputs: OutputContract, contract: Mapping[str, Any]) -> str:
    """The header of a contract.

    Args:
        contract: As `Kit.contract` has it: layouts and words.
    """
    size = inputs.height, inputs.width
    layouts = (contract[end]["tensor"]["layout"] for end in ("input", "output"))
    image, mask = (
        TensorPlace.without_gaps((channels, *size), layout)
        for channels, layout in zip((inputs.channels, outputs.channels), layouts, strict=True)
    )
    sizes = "\n".join(
        f"#define EDGESEG_{name}_SIZE {place.shape[0] * place.shape[1] * place.shape[2]}"
        for name, place in (("IMAGE", image), ("MASK", mask))
    )
    values = {
        "INPUT_WORDS": comment_lines(contract["input"]["words"]),
        "OUTPUT_WORDS": comment_lines(contract["output"]["words"]),
        "CONSTANTS": f"{constants_text(inputs, outputs, image, mask)}\n{sizes}",
        "FORMATS": formats_text(inputs),
        "CLASSES": "\n".join(
            f"    case {index}: return {c_string(name)};"
            for index, name in enumerate(outputs.classes)
        ),
        "PIXELS": pixels_text(inputs),
    }
    return fill((FOLDER / HEADER).read_text(encoding="utf-8"), values)


def comment_lines(sentences: Sequence[str]) -> str:
    """Numbered sentences for a comment of C, which nothing in them ends."""
    lines = []
    for number, sentence in enumerate(sentences, 1):
        harmless = sentence.replace("*/", "* /").replace("/*", "/ *")
        lines += textwrap.wrap(
            harmless,
            COMMENT_WIDTH,
            initial_indent=f" * {number}. ",
            subsequent_indent=" *    ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def c_string(text: str) -> str:
    """A string of C in ASCII, whatever is in it."""
    shown = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8")
    )
    return f'"{shown}"'


def c_float(value: float) -> str:
    """A constant of C that is this number, rounded to float."""
    return f"{value!r}f" if any(mark in repr(value) for mark in ".en") else f"{value!r}.0f"


def _normalization(inputs: InputContract) -> tuple[str, str]:
    """C that prepares the normalisation, and the expression for `value` of channel `k`."""
    how = inputs.normalization
    if isinstance(how, MinMax):
        extent = f"(float)({float(how.high - how.low)!r} / ((double)most - (double)least))"
        statement = f"const float gain = most > least ? {extent} : 0.0f;"
        return statement, f"(value - least) * gain + {c_float(how.low)}"
    mean, std = (", ".join(c_float(one) for one in values) for values in (how.mean, how.std))
    statements = (
        f"static const float mean[] = {{{mean}}};\n"
        f"    static const float std[] = {{{std}}};\n"
        "    (void)least, (void)most;"
    )
    return statements, "(value / 255.0f - mean[k]) / std[k]"
