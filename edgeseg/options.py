"""Settings that a command line gives as NAME=VALUE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from .errors import UnknownNameError, UsageError

WORDS = {"true": True, "false": False}


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
                raise UnknownNameError(f"option of {owner}", name, known)
            default = known[name].default
            kind: Any = type(default)
            try:
                values[name] = WORDS[text] if kind is bool else kind(text)
            except (ValueError, KeyError) as error:
                raise UsageError(
                    f"The option {name} of {owner} is '{text}', which is not of type "
                    f"{kind.__name__}. Give it as {name}={str(default).lower()}."
                ) from error
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
