"""Functions of steps: those that differ in offsets only are written once.

Networks repeat their blocks, and a library that repeats the code of each is larger, and takes
longer to compile. What is written of a step holds marks in the place of its name and of offsets in
the arenas and among the weights; of functions with one text, one is left, which is given a table of
its offsets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = "$NAME"  # of the function, with which names of functions that it alone calls begin
PARAMETER, ARGUMENT = "$AT", "$at"  # first of the parameters, or arguments, of all these
_OFFSET = re.compile(r"\$\[(\d+)\]")
_CALL = re.compile(r"\$(\d+)\(")


def marked(value: int) -> str:
    """An offset, so that functions that differ in it only can be found."""
    return f"$[{value}]"


@dataclass(frozen=True)
class _Function:
    """The text of one step.

    Attributes:
        text: With `at[0]`, `at[1]`, ... in the place of offsets.
        offsets: What these are.
        alone: The text with the offsets themselves.
    """

    text: str
    offsets: tuple[int, ...]
    alone: str


class Functions:
    """The functions of a network, in the order in which they are added."""

    def __init__(self) -> None:
        self._functions: list[_Function] = []

    def add(self, lines: list[str]) -> str:
        """Add one; returns the mark of a call, up to the first of the other arguments."""
        marked = "\n".join(lines)
        offsets = tuple(dict.fromkeys(int(found) for found in _OFFSET.findall(marked)))
        text = _OFFSET.sub(lambda found: f"at[{offsets.index(int(found[1]))}]", marked)
        alone = _OFFSET.sub(lambda found: found[1], marked)
        self._functions.append(_Function(text, offsets, alone))
        return f"${len(self._functions) - 1}("

    def write(self) -> list[str]:
        """C of all, each text once."""
        lines = []
        for text, members in self._groups().items():
            first = self._functions[members[0]]
            body = first.alone if len(members) == 1 else text
            given = ("", "") if len(members) == 1 else ("const int32_t *at, ", "at, ")
            for mark, word in zip((PARAMETER, ARGUMENT), given, strict=True):
                body = body.replace(mark, word)
            lines.append(self.with_calls(body.replace(NAME, f"s{members[0]}")))
            for member in members if len(members) > 1 else ():
                numbers = ", ".join(map(str, self._functions[member].offsets)) or "0"
                lines.append(f"static const int32_t o{member}[] = {{{numbers}}};")
        return lines

    def with_calls(self, text: str) -> str:
        """A text with calls in the place of their marks."""
        calls = {}
        for members in self._groups().values():
            for member in members:
                table = f"o{member}, " if len(members) > 1 else ""
                calls[member] = f"s{members[0]}({table}"
        return _CALL.sub(lambda found: calls[int(found[1])], text)

    def _groups(self) -> dict[str, list[int]]:
        """Functions by their text."""
        groups: dict[str, list[int]] = {}
        for index, function in enumerate(self._functions):
            groups.setdefault(function.text, []).append(index)
        return groups
