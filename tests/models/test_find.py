"""Which networks are edgeseg's own or a plug-in's, and so may be imported by a record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeseg.models import find_model, is_registered, list_models
from edgeseg.models.spec import TWIN_PATH


def as_in_a_manifest(name: str, /, **changed: Any) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(find_model(name).to_json()))
    return {**record, **changed}


def test_registered_networks_are_recognised() -> None:
    for spec in list_models():
        assert is_registered(json.loads(json.dumps(spec.to_json())))


def test_an_edge_variant_is_recognised() -> None:
    pytest.importorskip("torch")
    assert is_registered(as_in_a_manifest("ulite-twin"))


@pytest.mark.parametrize(
    "changed",
    [
        {"place": "evil:Net"},
        {"place": "edgeseg.models.spec:ModelSpec"},
        {"arguments": {"width": 10**9}},
        {"name": "tinynet"},
        {"name": "evil:Net", "place": "evil:Net"},
        {"name": None},
        # The twin imports what its arguments name.
        {"place": TWIN_PATH, "arguments": {"place": "evil:Net"}},
    ],
)
def test_what_another_wrote_is_not(changed: dict[str, Any]) -> None:
    assert not is_registered(as_in_a_manifest("ulite", **changed))


def test_a_variant_of_anothers_class_is_not() -> None:
    pytest.importorskip("torch")
    record = as_in_a_manifest("ulite-twin")
    record["arguments"]["place"] = "evil:Net"
    assert not is_registered(record)
