"""From torch to ONNX."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from ..contract import InputContract, OutputContract
from ..errors import ExportError, reason_of
from ..formats.onnx import CONTRACT, MODULE, contract_text
from ..lazy import require
from ..models.logits import WrappedNetwork, inner_network
from .doubles import has_doubles, loads, without_doubles
from .translations import translations

SCOPES = "pkg.torch.onnx.name_scopes"
OPSET = 20  # the first with Gelu as one operator
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r'The following call raised this error:\s+File "([^"]+)", line (\d+)')


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs and prints its progress; a failure comes as an exception anyway."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _failure(error: Exception) -> str:
    """What failed, and in which line of the network where the exporter knows it."""
    # The exporter wraps what happened in general advice.
    text = str(error.__cause__ or error)
    place = _PLACE.search(text)
    where = f"{Path(place[1]).name}, line {place[2]}: " if place else ""
    reason = _COLOR.sub("", text.partition("Caused by:")[0])
    return where + reason_of(ValueError(reason))


def _module_of(scopes: str, network: nn.Module) -> str:
    """The module that an operator is of, as the user's network names it; empty for the network.

    Args:
        scopes: What the exporter writes: names of modules, from the outermost on, and of the call.
    """
    names = ast.literal_eval(scopes) if scopes else []
    place = str(names[-2]) if len(names) > 1 else ""
    while isinstance(network, WrappedNetwork):
        place, network = place.removeprefix("network").removeprefix("."), network.network
    return place


def onnx_from_torch(
    network: nn.Module, inputs: InputContract, outputs: OutputContract, path: Path
) -> None:
    """Write a network as one ONNX file of fixed shape, batch 1, with torch's dynamo exporter.

    Names of files and lines of the source, which the exporter adds to every node, are taken out:
    they are most of the bytes of a small network, and they tell where it was built. Of a node's
    metadata the name of its module stays, for messages. How pictures are prepared is put into the
    file's metadata.

    Raises:
        ExportError: The exporter cannot trace or translate the network.
    """
    onnx = require("onnx", purpose="Export")
    require("onnxscript", purpose="Export")
    example = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0))
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                network.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[inputs.name],
                output_names=[outputs.name],
                custom_translation_table=translations(),
                verbose=False,
            )
    except Exception as error:
        name = type(inner_network(network)).__name__
        raise ExportError(
            f"{name} does not export to ONNX opset {OPSET}: {_failure(error)}. Rewrite "
            "the named operation with one that ONNX has, and try again."
        ) from error
    assert program is not None
    proto = program.model_proto
    if has_doubles(proto) and not loads(proto):
        proto = without_doubles(proto)
    for node in proto.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get(SCOPES, "")
        del node.metadata_props[:]
        node.doc_string = ""
        if module := _module_of(scopes, network):
            node.metadata_props.add(key=MODULE, value=module)
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    for function in proto.functions:
        del function.metadata_props[:]
    proto.metadata_props.add(key=CONTRACT, value=contract_text(inputs, outputs))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
