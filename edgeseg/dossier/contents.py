"""What the documents of a release are written from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..bundle.bundle import Bundle
from .packages import Soup

NOT_STATED = "Not stated."
NO_DEVICE = (
    "This is not a medical device. It was not evaluated on patients, and nothing that it gives is "
    "a diagnosis."
)
KEYS = re.compile(r"\*\*(?P<key>[A-Z][a-z ]+)[:.]\*\* *(?P<text>.*?)(?=\n- \*\*|\n\n|\Z)", re.S)


@dataclass(frozen=True)
class Dossier:
    """Attributes:
    bundle: What is released.
    created: When, ISO 8601.
    performance: Content of performance.json.
    trace: Content of traceability.json.
    soup: Software of others.
    card: What the card of the weights says, by its headings; see `read_card`.
    """

    bundle: Bundle
    created: str
    performance: Mapping[str, Any]
    trace: Mapping[str, Any]
    soup: tuple[Soup, ...]
    card: Mapping[str, str]

    def told(self, key: str) -> str:
        """What the card of the weights says under a heading."""
        return self.card.get(key, NOT_STATED)

    @property
    def licence(self) -> str:
        """SPDX name of the weights' licence, or nothing."""
        return self.bundle.manifest.model.weights_licence or ""

    @property
    def title(self) -> str:
        """The network for people."""
        manifest = self.bundle.manifest
        return str(manifest.model.spec.get("title") or manifest.model.name)

    @property
    def row(self) -> Mapping[str, Any]:
        """The row of the bundle's measurement; empty where it was not measured."""
        rows = self.performance["rows"]
        return rows[0] if rows else {}


def read_card(text: str) -> dict[str, str]:
    """Statements of a card of weights: "**Task:** ..." or "**Limits.** ..." by their headings."""
    return {found["key"]: " ".join(found["text"].split()) for found in KEYS.finditer(text)}
