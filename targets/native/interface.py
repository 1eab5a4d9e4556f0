"""The C interface of a compiled network: a header, and what stands behind it.

The C itself lies in `c/`, with names between @ for what differs from network to network.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeseg.contract import InputContract, MinMax, OutputContract

from .ir import Program
from .kernels.writer import number
from .passes.norms import MOST_THREADS
from .source import Place, Source

VERSION = 1
MAGIC = b"ESNW"
HEADER = struct.Struct("<4sIQQQ32x")  # magic, version, network, floats and their checksum
ALIGNMENT = 64
LONGEST_SIDE = 8192  # of pictures, in pixels
# Of a picture, in the header, by its channels.
PIXELS = {1: "one byte", 2: "two bytes", 3: "three bytes", 4: "four bytes"}
FOLDER = Path(__file__).with_name("c")
NO_PICTURES = """\
#define LONGEST_SIDE 0
#define PICTURE_BYTES 0
struct picture { int none; };
#define picture_in(...) (void)0
#define picture_out(...) 0
"""


def network_key(sources: Sequence[Source]) -> int:
    """What ties weights to the code that reads them."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.text.encode())
    return int.from_bytes(digest.digest()[:8], "little")


def checksum(content: bytes) -> int:
    """FNV-1a over 64-bit words, as `edgeseg_create` in C computes it.

    The upper half is mixed into the lower one: a changed sign would else stay where no product
    carries it on, and a second one would undo it.
    """
    total = 0xCBF29CE484222325
    for word in np.frombuffer(content, "<u8").tolist():
        total = ((total ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        total ^= total >> 32
    return total


def weights_file(source: Source, key: int) -> bytes:
    """What `edgeseg_create` takes."""
    content = source.weights.astype("<f4").tobytes()
    known = (MAGIC, VERSION, key, source.weights.size, checksum(content))
    return HEADER.pack(*known) + content


def header(program: Program) -> str:
    """The header file, which says what the functions do."""
    sizes = {"IMAGE": program.image.shape, "MASK": program.mask.shape}
    lines = [
        f"#define EDGESEG_{name}_{axis} {size}"
        for name, shape in sizes.items()
        for axis, size in zip(("CHANNELS", "HEIGHT", "WIDTH"), shape, strict=True)
    ]
    lines.append(f"#define EDGESEG_LONGEST_SIDE {LONGEST_SIDE}")
    lines.append(f"#define EDGESEG_MOST_THREADS {MOST_THREADS}")
    values = {
        "SIZES": "\n".join(lines),
        "VERSION": str(VERSION),
        "PIXEL": PIXELS.get(program.image.channels, PIXELS[3]),
    }
    return filled("interface.h", values)


def implementation(
    source: Source, key: int, contracts: tuple[InputContract, OutputContract] | None
) -> str:
    """The C text behind the header; it follows the network's.

    Args:
        contracts: How pictures are prepared and masks are read; None where that is not known.
    """
    sizes = source.arena_floats, source.strip_floats
    arena, strips = (-(-4 * floats // ALIGNMENT) * ALIGNMENT for floats in sizes)
    pictures = NO_PICTURES if contracts is None else _pictures(source, *contracts)
    values = {
        "KEY": f"0x{key:016x}u",
        "COUNT": str(source.weights.size),
        "ARENA": str(arena),
        "STRIPS": str(strips),
        "MOST_THREADS": str(MOST_THREADS),
        "HEADER": str(HEADER.size),
        "IMAGE": ", ".join(map(str, source.image.shape)),
        "MASK": ", ".join(map(str, source.mask.shape)),
        "PIXEL_BYTES": str(3 if contracts is None else contracts[0].channels),
        "VERSION": str(VERSION),
    }
    return pictures + filled("interface.c", values)


def _pictures(source: Source, inputs: InputContract, outputs: OutputContract) -> str:
    return filled(
        "pictures.c",
        {
            "LONGEST": str(LONGEST_SIDE),
            **_place("IMAGE", source.image),
            **_place("MASK", source.mask),
            "ZEROS": ", ".join(["0.0f"] * inputs.channels),
            "NORMALIZATION": _normalization(inputs),
            "THRESHOLD": number(outputs.threshold),
        },
    )


def _place(name: str, place: Place) -> dict[str, str]:
    return {
        **{f"{name}_{axis}": str(size) for axis, size in zip("CHW", place.shape, strict=True)},
        f"{name}_FIRST": str(place.first),
        f"{name}_PLANE": str(place.plane),
        f"{name}_PITCH": str(place.pitch),
    }


def _normalization(inputs: InputContract) -> str:
    """C that defines what is done to a pixel `V` of channel `K`."""
    how = inputs.normalization
    if isinstance(how, MinMax):
        low = number(how.low)
        gain = f"(float)({how.high - how.low!r} / ((double)most - (double)least))"
        return (
            f"const float gain = most > least ? {gain} : 0.0f;\n"
            f"#define NORMALIZED(V, K) (((V) - least) * gain + {low})"
        )
    mean, std = (", ".join(number(one) for one in values) for values in (how.mean, how.std))
    return (
        f"static const float mean[{inputs.channels}] = {{{mean}}}, "
        f"std[{inputs.channels}] = {{{std}}};\n"
        "(void)least, (void)most;\n"
        "#define NORMALIZED(V, K) (((V) / 255.0f - mean[K]) / std[K])"
    )


def filled(file: str, values: Mapping[str, str]) -> str:
    """A file of `c/` with each name between @ replaced."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
