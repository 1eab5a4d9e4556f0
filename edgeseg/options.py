"""Settings given as NAME=VALUE, and arguments of the Python interface as requests take them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

from .errors import UnknownNameError, UsageError

WORDS = {"true": True, "false": False}
AnyPath: TypeAlias = str | os.PathLike[str]
PATHS = frozenset(
    {"output", "weights", "data", "spec", "tuning", "against_weights", "key", "bench", "card"}
)
TEXTS = frozenset({"model", "target", "precision", "runtime", "method", "metrics", "against"})
MAPPINGS = frozenset({"options", "method_options", "max_change"})


@dataclass(frozen=True)
class Options:
    """Base: nothing to choose.

    A subclass has fields with defaults of type int, float, bool or str, checked in
    `__post_init__`.

    Attributes:
        aliases: Earlier name of an option -> its present one; both are accepted.
    """

    aliases: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def parse(cls, owner: str, given: Mapping[str, str]) -> Self:
        """Options from the words of a command line, the defaults for the rest.

        Args:
            owner: What they belong to, for messages: "target intel".

        Raises:
            UnknownNameError: There is no such option.
            UsageError: A value is not of the option's type.
        """
        known = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        for given_name, text in given.items():
            name = cls.aliases.get(given_name, given_name)
            if name not in known:
                raise UnknownNameError("option", name, known, owner)
            default = known[name].default
            kind: Any = type(default)
            try:
                values[name] = WORDS[text.lower()] if kind is bool else kind(text)
            except (ValueError, KeyError) as error:
                raise UsageError(
                    f"The option {name} of {owner} is '{text}', which is not of type "
                    f"{kind.__name__}. Give it as {name}={str(default).lower()}."
                ) from error
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as a request takes them; what is None is left to the request's default.

    Raises:
        UsageError: See `size_of`.
    """
    for name in TEXTS & given.keys():
        if not isinstance(given[name], (str, type(None))):
            raise UsageError(f"{name} is {given[name]!r:.80}, which is no text. Give its name.")
    for name in MAPPINGS & given.keys():
        value = given[name]
        if not isinstance(value, (Mapping, type(None))):
            raise UsageError(f"{name} is {value!r:.80}. Give a dict of names and values.")
    settings = {
        name: path_of(value) if name in PATHS else value
        for name, value in given.items()
        if value is not None
    }
    return settings | ({"size": size_of(given["size"])} if "size" in given else {})


def path_of(path: AnyPath | None) -> Path | None:
    """A path; None stays None.

    Raises:
        UsageError: It is something else.
    """
    return None if path is None else require_path(path)


def require_path(path: AnyPath) -> Path:
    """A path.

    Raises:
        UsageError: It is something else.
    """
    try:
        return Path(path)
    except TypeError as error:
        raise UsageError(f"{path!r:.80} is no path. Give a text or a pathlib.Path.") from error


def paths_of(paths: Sequence[AnyPath] | AnyPath) -> tuple[Path, ...]:
    """Several paths; a path alone counts as one, not as its letters."""
    if isinstance(paths, (str, os.PathLike)):
        return (Path(paths),)
    return tuple(map(require_path, paths))


def names_of(names: Sequence[str] | str) -> tuple[str, ...]:
    """Several names; a name alone counts as one, not as its letters."""
    found = (names,) if isinstance(names, str) else names
    if not isinstance(found, Sequence) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{names!r:.80} is no name and no list of names. Give texts.")
    return tuple(found)


def size_of(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """A size; None stays None.

    Raises:
        UsageError: It is not (height, width), as the "256x256" of the command line is not.
    """
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
    if len(sides) != 2 or not all(type(side) is int for side in sides):
        raise UsageError(
            f"size is {size!r}, which is not (height, width). Give two whole numbers, such as "
            "size=(256, 256)."
        )
    return sides
