"""What the documents of a release are written from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..bundle.bundle import Bundle
from ..models.spec import ONNX_PLACE
from .packages import Soup

NOT_STATED = "Not stated."
NO_DEVICE = (
    "This is not a medical device. It was not evaluated on patients, and nothing that it gives is "
    "a diagnosis."
)
STATEMENTS = ("Task", "Data", "Licence", "Limits")  # that a card of weights should make
SPDX = re.compile(r"[A-Za-z0-9.+-]+")  # what the name of a licence looks like
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
        """SPDX name of the weights' licence as the bundle or the card states it, or nothing."""
        stated = self.card.get("Licence", "").rstrip(".")
        return self.bundle.manifest.model.weights_licence or (
            stated if SPDX.fullmatch(stated) else ""
        )

    @property
    def unstated(self) -> tuple[str, ...]:
        """What neither the bundle nor the card says of the weights, by heading."""
        model = self.bundle.manifest.model
        known = {"Data": model.weights_data, "Licence": model.weights_licence}
        return tuple(one for one in STATEMENTS if not self.card.get(one) and not known.get(one))

    @property
    def is_onnx_file(self) -> bool:
        return is_onnx_bundle(self.bundle)

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


def is_onnx_bundle(bundle: Bundle) -> bool:
    """Whether a bundle's network was brought as an ONNX file."""
    return str(bundle.manifest.model.spec.get("place", "")).startswith(f"{ONNX_PLACE}:")


def read_card(text: str) -> dict[str, str]:
    """Statements of a card of weights: "**Task:** ..." or "**Limits.** ..." by their headings."""
    return {found["key"]: " ".join(found["text"].split()) for found in KEYS.finditer(text)}
