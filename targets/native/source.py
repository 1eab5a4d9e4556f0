"""The C of a whole network: one function a step, called in order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .expressions import Floats, Shape, Tensor
from .functions import Functions
from .ir import (
    ChannelSums,
    Convolution,
    Gather,
    GroupScale,
    MatrixProduct,
    Nest,
    Pack,
    Pool,
    Program,
    Resize,
    Step,
    Strips,
)
from .kernels.convolution import write_convolution
from .kernels.moves import (
    write_gather,
    write_pool,
    write_product,
    write_resize,
    write_scale,
    write_sums,
)
from .kernels.nest import write_nest
from .kernels.pack import write_pack
from .kernels.tile import default_tile
from .kernels.writer import Extent, Machine, Writer, clear_edges, clear_halo
from .layout import Layout, plan_layout
from .passes.codes import pack_sources
from .strips import rows_of

PRELUDE = Path(__file__).parent / "c" / "prelude.h"
PARTS = ("part", "part + 1")  # of the threads: this one and the next, whose share comes then
WRITERS: dict[type[Step], Callable[[Writer, Any], Extent]] = {
    Gather: write_gather,
    Pool: write_pool,
    MatrixProduct: write_product,
    ChannelSums: write_sums,
    GroupScale: write_scale,
}


@dataclass(frozen=True)
class Place:
    """Where the image or the mask lies in the arena, in floats.

    Attributes:
        first: Of the first pixel.
        plane, pitch: From a channel, or a row, to the next.
    """

    shape: Shape
    first: int
    plane: int
    pitch: int


@dataclass(frozen=True)
class Source:
    """What is compiled, and what goes with it.

    Attributes:
        text: C, which includes nothing but headers of the compiler.
        weights: All constants.
        arena_floats: Memory that a run works in.
        steps: In the order of their functions s0, s1, ...
        strip_floats: Memory of each thread for strips of rows.
        calls: C that runs each of them, for one of `parts` threads.
        image, mask: Where `network_run` reads and writes.
    """

    text: str
    weights: Floats
    arena_floats: int
    strip_floats: int
    steps: tuple[Step, ...]
    calls: tuple[str, ...]
    image: Place
    mask: Place


def write_source(program: Program, machine: Machine, *, has_strips: bool = True) -> Source:
    """The C of a fused program, which stays as it is."""
    program = copy.deepcopy(program)
    if machine.bytes:
        pack_sources(program)
    layout = plan_layout(program, has_strips=has_strips)
    writer = Writer(layout, machine)
    cleared: set[Any] = set()
    body: list[str] = []
    writer.depth = 1
    _clear(writer, cleared, layout, [program.image])
    halos = writer.lines
    writer.lines, writer.depth = [], 0
    functions = Functions()
    calls: list[str] = []
    for step in layout.steps:
        call = _write_step(writer, functions, step)
        calls.append(call)
        writer.lines, writer.depth = [], 1
        _clear(writer, cleared, layout, step.writes())
        if writer.lines and isinstance(step, Strips):
            # Windows of other threads read these zeros in this very step.
            writer.line("wait_for_others(team, parts);")
        body += [*writer.lines, f"    {call}", "    wait_for_others(team, parts);"]
        writer.lines, writer.depth = [], 0
    image, mask = _place(layout, program.image), _place(layout, program.mask)
    text = "\n".join(
        [
            PRELUDE.read_text(encoding="utf-8"),
            *writer.tables,
            *functions.write(),
            _entry(image, mask, [*halos, "    wait_for_others(team, parts);", *body]),
        ]
    )
    text = functions.with_calls(text)
    calls = [functions.with_calls(call) for call in calls]
    weights = np.concatenate([*writer.weights, np.zeros(64, np.float32)])
    sizes = layout.size, layout.strip_size
    return Source(text, weights, *sizes, tuple(layout.steps), tuple(calls), image, mask)


def _write_step(writer: Writer, functions: Functions, step: Step) -> str:
    """Add the functions of a step; returns C that calls them."""
    if isinstance(step, Strips):
        extent = _write_strips(writer, functions, step)
    elif isinstance(step, Convolution | Nest | Resize | Pack):
        extent = _write_rows(writer, step, 0)
    else:
        extent = WRITERS[type(step)](writer, step)
    call = functions.add(writer.take())
    ends = [f"share({extent.size}, {extent.granule}, {part}, parts)" for part in PARTS]
    return f"{call}m, w, s, {', '.join(ends)}, part, parts);"


def _write_strips(writer: Writer, functions: Functions, step: Strips) -> Extent:
    calls = []
    for inner in step.steps:
        height, rows = rows_of(inner) or 0, step.ranges[inner]
        writer.strip = rows
        _write_rows(writer, inner, step.rows * rows.scale)
        start = f"base * {rows.scale}"
        ends = f"{start} - {rows.above}", f"{start} + {step.rows * rows.scale + rows.below}"
        if rows.above:
            ends = f"({start} < {rows.above} ? 0 : {ends[0]})", ends[1]
        if rows.below:
            ends = ends[0], f"({ends[1]} > {height} ? {height} : {ends[1]})"
        calls.append(f"{functions.add(writer.take())}m, w, s, {', '.join(ends)}, base);")
    writer.strip = None
    loop = f"for (int base = from; base < to; base += {step.rows})"
    with writer.step(), writer.block(loop):
        for call, inner in zip(calls, step.steps, strict=True):
            writer.line(call)
            for tensor in inner.writes():
                storage = writer.storage(tensor)
                if tensor in step.inner and storage.is_strip and storage.halo:
                    clear_edges(writer, storage, tensor.height)
    return Extent(rows_of(step.steps[-1]) or 0, step.rows)


def _write_rows(writer: Writer, step: Step, rows: int) -> Extent:
    if isinstance(step, Convolution):
        return write_convolution(writer, step, default_tile(writer, step, rows), rows)
    if isinstance(step, Nest):
        return write_nest(writer, step, rows)
    if isinstance(step, Pack):
        return write_pack(writer, step, rows)
    assert isinstance(step, Resize)
    return write_resize(writer, step)


def _clear(writer: Writer, cleared: set[Any], layout: Layout, tensors: list[Any]) -> None:
    """Zeros around what is written for the first time."""
    for tensor in tensors:
        for storage in layout.storages(tensor):
            if storage not in cleared:
                cleared.add(storage)
                # Of strips, each thread has its own.
                with writer.block("" if storage.is_strip else "if (part == 0)"):
                    clear_halo(writer, storage)


def _place(layout: Layout, tensor: Tensor) -> Place:
    view = layout.view(tensor)
    storage = view.storage
    first = storage.first + view.channel * storage.plane
    return Place(tensor.shape, first, storage.plane, storage.pitch)


def _entry(image: Place, mask: Place, body: list[str]) -> str:
    """`network_put` copies the image in, `network_run` computes, `network_get` copies the mask."""
    lines = []
    for name, arguments, place, line in (
        ("put", "float *m, const float *image", image, "copy(p, image, {width});"),
        ("get", "const float *m, float *mask", mask, "copy(mask, p, {width});"),
    ):
        channels, height, width = place.shape
        outside = arguments.rpartition("*")[2]
        kind = "float" if name == "put" else "const float"
        lines += [
            f"static void network_{name}({arguments})",
            "{",
            f"    for (int c = 0; c < {channels}; ++c)",
            f"        for (int y = 0; y < {height}; ++y, {outside} += {width}) {{",
            f"            {kind} *p = m + {place.first} + c * {place.plane} + y * {place.pitch};",
            f"            {line.format(width=width)}",
            "        }",
            "}",
            "",
        ]
    arguments = "float *m, const float *w, float *s, struct team *team, int part, int parts"
    lines += [f"static void network_run({arguments})", "{", *body, "}", ""]
    return "\n".join(lines)
