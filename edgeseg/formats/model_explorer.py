"""Files that Model Explorer opens: a graph of layers by module, and values that colour it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# From the quickest to the slowest layer.
GRADIENT = ((0.0, "#ffffff"), (0.1, "#fff3b0"), (0.5, "#f4a259"), (1.0, "#c1292e"))
GRAPH_ID = "layers"


@dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        label: What is written on it.
        module: Dotted name of the part that it stands in; empty for none.
        value: What colours it.
        reads: Places of the nodes whose results it reads.
        facts: What is told where it is selected, by name.
    """

    label: str
    module: str
    value: float
    reads: tuple[int, ...]
    facts: dict[str, str]


def graph_record(label: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """A graph of nodes, which are called by their places, as JSON.

    Args:
        label: Of the model.
    """
    return {"label": label, "graphs": [{"id": GRAPH_ID, "nodes": _records_of(nodes)}]}


def _records_of(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(place),
            "label": node.label,
            "namespace": node.module.replace(".", "/"),
            "attrs": [{"key": key, "value": value} for key, value in node.facts.items()],
            "incomingEdges": [
                {
                    "sourceNodeId": str(source),
                    "sourceNodeOutputId": "0",
                    "targetNodeInputId": str(number),
                }
                for number, source in enumerate(node.reads)
            ],
        }
        for place, node in enumerate(nodes)
    ]


def values_record(name: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """Values of the same nodes, as JSON.

    Args:
        name: Of what the values are.
    """
    results = {str(place): {"value": node.value} for place, node in enumerate(nodes)}
    gradient = [{"stop": stop, "bgColor": colour} for stop, colour in GRADIENT]
    return {GRAPH_ID: {"name": name, "results": results, "gradient": gradient}}
