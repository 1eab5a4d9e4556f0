"""Which module of the package imports which, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from support import ROOT

SIBLINGS = ("quantize", "targets", "benchmarks")
SOURCE_FOLDERS = ("edgeseg", *SIBLINGS)
Graph = Mapping[str, frozenset[str]]


@cache
def module_files() -> dict[str, Path]:
    """Every module of the package with its file."""
    files = {}
    for folder, package in (("edgeseg", "edgeseg"), *((s, f"edgeseg.{s}") for s in SIBLINGS)):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            files[name] = path
    return files


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_when_loaded(name: str, path: Path) -> set[str]:
    """As `imported_modules`, of the statements that run when the module is loaded."""
    return imported_by(name, path, parse(path).body)


def imported_modules(name: str, path: Path) -> set[str]:
    """Absolute names of what a module imports anywhere in it: modules, and names from modules."""
    return imported_by(name, path, ast.walk(parse(path)))


def imported_by(name: str, path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    """Absolute names of what the import statements among some nodes import."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imported: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join((*parents, base)).rstrip(".")
            imported.add(base)
            imported.update(f"{base}.{alias.name}" for alias in node.names)
    return imported


def import_graph(files: Mapping[str, Path]) -> Graph:
    """What each module makes Python load, at once or later: imports inside functions count.

    Loading a module runs the `__init__` of each package around it, so these are edges too, but for
    the packages that the importing module lies in.
    """
    graph = {}
    for name, path in files.items():
        loaded: set[str] = set()
        for imported in imported_modules(name, path):
            parts = imported.split(".")
            around = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
            loaded |= {module for module in around if module in files}
        graph[name] = frozenset(
            module for module in loaded if not f"{name}.".startswith(f"{module}.")
        )
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that reach each other (strongly connected components of two or more)."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups: list[list[str]] = []
    grouped: set[str] = set()
    for name in sorted(graph):
        if name in grouped or name not in reached[name]:
            continue
        group = sorted(other for other in reached[name] if name in reached[other])
        grouped.update(group)
        groups.append(group)
    return groups


def _reachable(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for module in graph[waiting.pop()]:
            if module not in reached:
                reached.add(module)
                waiting.append(module)
    return reached


def long_functions(name: str, path: Path, limit: int) -> Iterator[tuple[str, int]]:
    """Functions and methods of more lines than `limit`, decorators and docstring included.

    Yields:
        MODULE:QUALIFIED.NAME and the number of lines.
    """

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                qualified = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    first = min([child.lineno, *(item.lineno for item in child.decorator_list)])
                    lines = (child.end_lineno or first) - first + 1
                    if lines > limit:
                        yield f"{name}:{qualified}", lines
                yield from walk(child, f"{qualified}.")
            else:
                yield from walk(child, prefix)

    yield from walk(parse(path), "")
