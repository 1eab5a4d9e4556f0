"""What a build decides beside the network, its weights and the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from ..errors import UsageError


@dataclass(frozen=True)
class Candidate:
    """One way to build.

    Attributes:
        precision: As the runtime names it.
        rewrites: Names of the exact rewrites (`edgeseg.lower.rewrites`) applied to the graph.
        method: Quantisation method; empty for a float precision.
        method_options: Of the method, (name, word) each.
        float_nodes: Convolutions of the rewritten graph that stay in float though they could be
            INT8, by the names of their results.
        variant: Which of the runtime's variants of its settings; empty is the ordinary one.
    """

    precision: str
    rewrites: tuple[str, ...] = ()
    method: str = ""
    method_options: tuple[tuple[str, str], ...] = ()
    float_nodes: tuple[str, ...] = ()
    variant: str = ""

    @property
    def name(self) -> str:
        """A few words for people; different candidates may have the same."""
        words = [self.precision]
        if self.method:
            words[0] += f" by {self.method}"
        if self.rewrites:
            count = len(self.rewrites)
            words.append(f"{count} rewrite{'s' if count > 1 else ''}")
        if self.float_nodes:
            words.append(f"{len(self.float_nodes)} convolutions in float")
        if self.variant:
            words.append(self.variant)
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "rewrites": list(self.rewrites),
            "method": self.method,
            "method_options": dict(self.method_options),
            "float_nodes": list(self.float_nodes),
            "variant": self.variant,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave.

        Raises:
            UsageError: It is something else.
        """
        known = {field.name for field in fields(cls)}
        try:
            if set(record) != known:
                raise ValueError(f"it has the fields {', '.join(sorted(record))}")
            return cls(
                precision=_word(record["precision"]),
                rewrites=_words(record["rewrites"]),
                method=_word(record["method"]),
                method_options=tuple(
                    (_word(name), _word(value)) for name, value in record["method_options"].items()
                ),
                float_nodes=_words(record["float_nodes"]),
                variant=_word(record["variant"]),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"This is no candidate of a build: {error}. Take the record that edgeseg build "
                "--precision auto has written, unchanged."
            ) from error


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def _words(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r} is not a list")
    return tuple(_word(value) for value in values)
