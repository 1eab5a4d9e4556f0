"""Names that stand for places in code, so that nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

from .errors import EdgesegError, UnknownNameError


class Registry:
    """Built-in names plus those that other packages add by entry point.

    Args:
        kind: What the names stand for, for messages: "target".
        places: Name to "module:attribute".
        group: Entry point group through which other packages add names.
    """

    def __init__(self, kind: str, places: Mapping[str, str], group: str) -> None:
        self.kind = kind
        self.group = group
        self._built_in = dict(places)
        self._places: dict[str, str] | None = None

    def places(self) -> dict[str, str]:
        """All names with their places.

        Raises:
            EdgesegError: Another package claims a name that is taken.
        """
        if self._places is None:
            places = dict(self._built_in)
            for entry in importlib.metadata.entry_points(group=self.group):
                if entry.name in places:
                    raise EdgesegError(
                        f"The {self.kind} '{entry.name}' of {entry.value} has a name that is taken "
                        f"by {places[entry.name]}. Uninstall one of the two packages."
                    )
                places[entry.name] = entry.value
            self._places = places
        return self._places

    def __contains__(self, name: object) -> bool:
        # Other packages are looked for only where it is not edgeseg's own: that takes time.
        return name in self._built_in or name in self.places()

    def names(self) -> tuple[str, ...]:
        return tuple(self.places())

    def find(self, name: str) -> Any:
        """Import what `name` stands for.

        Raises:
            UnknownNameError: Nobody registered it.
        """
        places = self.places()
        if name not in places:
            raise UnknownNameError(self.kind, name, places)
        module, _, attribute = places[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name in self._built_in:
                raise
            raise EdgesegError(
                f"The {self.kind} '{name}' is registered as {places[name]}, which does not load "
                f"({error}). Reinstall or uninstall the package that brought it."
            ) from error
