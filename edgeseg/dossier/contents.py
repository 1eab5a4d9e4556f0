"""What the documents of a release are written from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..errors import UsageError
from ..models.spec import ONNX_PLACE
from .packages import Soup

NOT_STATED, NO_LICENCE = "Not stated.", "not stated"
NO_DEVICE = (
    "This is not a medical device. It was not evaluated on patients, and nothing that it gives is "
    "a diagnosis."
)
STATEMENTS = ("Task", "Data", "Licence", "Limits")  # that a card of weights should make
SPELLINGS = {"License": "Licence"}
KEYS = re.compile(
    r"\*\*(?P<key>[A-Z][a-z ]+)[:.]\*\* *(?P<text>.*?)(?=\n *(?:- )?\*\*|\n\n|\Z)", re.S
)


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
        """Name of the weights' licence; see `licence_of`."""
        return licence_of(self.bundle, self.card)

    @property
    def licence_or_not(self) -> str:
        """The same, or that nobody has stated it: one text in every document."""
        return self.licence or NO_LICENCE

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


def licence_of(bundle: Bundle, card: Mapping[str, str]) -> str:
    """Name of the weights' licence as the bundle states it, or else the card; or nothing."""
    return bundle.manifest.model.weights_licence or card.get("Licence", "").rstrip(".")


def require_one_licence(path: Path, card: Mapping[str, str], bundle: Bundle) -> None:
    """Refuse a card that names another licence of the weights than the bundle does.

    Raises:
        UsageError: It does; the card begins with the name, and may say more.
    """
    stated, told = bundle.manifest.model.weights_licence, card.get("Licence")
    if stated and told and not letters_of(told).startswith(letters_of(stated)):
        raise UsageError(
            f"--card {path} says that the weights' licence is {told.rstrip('.'):.80}, and the "
            f"bundle that it is {stated}: they are weights that EdgeSeg ships. Correct the card."
        )


def letters_of(text: str) -> str:
    """Letters and digits alone, small: "CC BY-NC 4.0" is the licence "CC-BY-NC-4.0"."""
    return "".join(filter(str.isalnum, text.lower()))


def is_onnx_bundle(bundle: Bundle) -> bool:
    """Whether a bundle's network was brought as an ONNX file."""
    return str(bundle.manifest.model.spec.get("place", "")).startswith(f"{ONNX_PLACE}:")


def read_card(text: str) -> dict[str, str]:
    """Statements of a card of weights: "**Task:** ..." or "**Limits.** ..." by their headings.

    Raises:
        ValueError: It states one of `STATEMENTS` twice.
    """
    found = [
        (SPELLINGS.get(one["key"], one["key"]), " ".join(one["text"].split()))
        for one in KEYS.finditer("\n".join(text.splitlines()))
    ]
    for name in STATEMENTS:
        if sum(key == name for key, _ in found) > 1:
            raise ValueError(f"it states {name} twice")
    return dict(found)
