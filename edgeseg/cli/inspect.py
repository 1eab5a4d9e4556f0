"""edgeseg inspect"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal.console import parse_size, print_json, print_note, print_result
from .terminal.options import AsJson, Size


def inspect(
    file: Annotated[Path, typer.Argument(help="ONNX file.")],
    size: Size = None,
    write_spec: Annotated[
        Path | None, typer.Option(help="TOML file to write, a first one for build --spec.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an ONNX file takes and gives, and whether it can be built.

    It is run on random images: the sizes that it takes, the channels of its mask, and whether that
    holds probabilities or logits.
    """
    from ..pipeline.inspect import inspect_onnx
    from ..pipeline.inspect import write_spec as write

    found = inspect_onnx(file, parse_size(size))
    if write_spec is not None:
        write(found, write_spec)
    if as_json:
        print_json(found.to_json())
        return
    print_result(f"input   {found.image.text}, {found.layout}")
    for port in found.outputs:
        mark = "  <- the mask" if port.name == found.output else ""
        print_result(f"output  {port.text}{mark}")
    print_result(
        f"At {found.height}x{found.width} the mask holds values from {found.low:.3g} to "
        f"{found.high:.3g}: {found.returns}. Images may be multiples of {found.stride}."
    )
    if write_spec is not None:
        print_note(
            f"Wrote {write_spec}. Look at the lines marked (!), then build with edgeseg build "
            f"--onnx {file} --spec {write_spec}."
        )
