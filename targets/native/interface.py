"""The C interface of a compiled network: a header, and what stands behind it.

The C itself lies in `c/`, with names between @ for what differs from network to network.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeseg.contract import InputContract, OutputContract
from edgeseg.embed.contract_c import (
    LONGEST_SIDE,
    TensorPlace,
    constants_text,
    formats_text,
    pixels_text,
)
from edgeseg.embed.surface import fill

from .ir import Program
from .passes.norms import MOST_THREADS
from .source import Source

VERSION = 1
MAGIC = b"ESNW"
HEADER = struct.Struct("<4sIQQQ32x")  # magic, version, network, floats and their checksum
ALIGNMENT = 64
PREFIX = "edgeseg"  # of all names in C, unless another is chosen
# Of a picture, in the header, by its channels.
PIXELS = {1: "one byte", 2: "two bytes", 3: "three bytes", 4: "four bytes"}
FOLDER = Path(__file__).with_name("c")
WITH_PICTURES = """\
#define PICTURE_BYTES ((sizeof(struct edgeseg_work) + 63) / 64 * 64)
"""
NO_PICTURES = """\
#define PICTURE_BYTES 0
#define EDGESEG_BANDS 6
struct edgeseg_work { int none; };
#define edgeseg_check_picture(...) 7
#define edgeseg_picture_in(...) (void)0
#define edgeseg_picture_out(...) 0
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


def header(
    program: Program,
    contracts: tuple[InputContract, OutputContract] | None = None,
    prefix: str = PREFIX,
) -> str:
    """The header file, which says what the functions do.

    Args:
        contracts: How pictures are prepared and masks are read; None where that is not known.
        prefix: Of all names.
    """
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
        "FORMATS": formats_text(contracts[0] if contracts else None),
    }
    return renamed(filled("interface.h", values), prefix)


def renamed(text: str, prefix: str) -> str:
    """C whose names begin with another prefix than `PREFIX`."""
    lower = re.sub(rf"\b{PREFIX}(?=_|\.h)", prefix, text)
    return re.sub(rf"\b{PREFIX.upper()}_", f"{prefix.upper()}_", lower)


def implementation(
    source: Source,
    key: int,
    contracts: tuple[InputContract, OutputContract] | None,
    prefix: str = PREFIX,
) -> str:
    """The C text behind the header; it follows the network's.

    Args:
        contracts: How pictures are prepared and masks are read; None where that is not known.
        prefix: Of all names.
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
        "VERSION": str(VERSION),
    }
    return renamed(pictures + filled("interface.c", values), prefix)


def _pictures(source: Source, inputs: InputContract, outputs: OutputContract) -> str:
    image, mask = (
        TensorPlace(place.shape, place.first, place.plane, place.pitch)
        for place in (source.image, source.mask)
    )
    parts = (
        "#include <float.h>",
        formats_text(inputs),
        "enum { EDGESEG_OK = 0, EDGESEG_BAD_IMAGE = 5, EDGESEG_BAD_FORMAT = 9 };",
        constants_text(inputs, outputs, image, mask),
        pixels_text(inputs),
        WITH_PICTURES,
    )
    return "\n".join(parts)


def filled(file: str, values: Mapping[str, str]) -> str:
    """A file of `c/` with each name between @ replaced."""
    return fill((FOLDER / file).read_text(encoding="utf-8"), values)
