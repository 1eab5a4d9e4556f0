"""The syntax of Swift, as a grammar has it: no compiler of Swift is to be had here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def swift_faults(paths: list[Path]) -> list[str]:
    """Places that the grammar does not understand, as PATH:LINE."""
    import tree_sitter
    import tree_sitter_swift

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))
    return [
        f"{path.name}:{node.start_point[0] + 1}"
        for path in paths
        for node in _faults(parser.parse(path.read_bytes()).root_node)
    ]


def _faults(node: Any) -> Iterator[Any]:
    if node.type == "ERROR" or node.is_missing:
        yield node
    for child in node.children:
        yield from _faults(child)
