"""The whole way from a file to a program."""

from __future__ import annotations

from pathlib import Path

from edgeseg.contract import InputContract, OutputContract
from edgeseg.formats.onnx import read_contracts
from edgeseg.lower.constants import fold_stored_constants

from ...onnx_file import read_typed_graph
from ..ir import Program
from .images import IMAGE_RULES
from .importer import Importer
from .maps import MAP_RULES
from .moves import MOVE_RULES


def import_graph(
    onnx_path: Path,
) -> tuple[Program, tuple[InputContract, OutputContract] | None]:
    """The program of an ONNX file, nothing fused, and what the file says of pictures and masks.

    Raises:
        TargetError: The file is no valid graph, or has an operator that is not known.
    """
    model = read_typed_graph(onnx_path)
    fold_stored_constants(model)
    program = Importer({**IMAGE_RULES, **MAP_RULES, **MOVE_RULES}).program(model)
    contracts = read_contracts(model)
    return program, contracts if program.image.channels == 3 else None
