"""The model card says what the dossier holds, and nothing that could be something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from card_numbers import numbers_of, unknown_numbers
from dossiers import dossier_of

from edgeseg.bundle.manifest import LimitsRecord
from edgeseg.dossier.card import card_text
from edgeseg.dossier.contents import read_card
from edgeseg.metrics.clusters import VOLUMES, Clusters


def test_a_measured_bundle(tmp_path: Path) -> None:
    dossier = dossier_of(tmp_path / "bundle")
    card = card_text(dossier)
    for line in (
        "- It keeps pooled Dice within 0.01: -0.0020 (-0.0040..+0.0010).",
        "| pooled Dice | 0.9375 (0.9250..0.9475) | -0.0020 (-0.0040..+0.0010) |",
        "| small \\| odd | 4 | 0.8750 (0.7500..0.9500) | -0.0125 (-0.0250..+0.0000) |",
        "Median 3.25 ms a picture on a core, 1 thread, 24 runs.",
        "12.5 of 10,000 pixels have another label than the reference's.",
        f"- **Bundle:** `{dossier.bundle.short_identity}`",
    ):
        assert line in card.splitlines()
    manifest = dossier.bundle.manifest.model_dump(mode="json")
    assert unknown_numbers(card, [dossier.performance, dossier.trace, manifest]) == []
    assert unknown_numbers(card, [dossier.trace, manifest]) != []


@pytest.mark.parametrize(
    ("worst", "words"),
    [
        (0.0, "1 exact rewrite of the graph; on the golden image nothing differs, and 0.00 of"),
        (2.4e-7, "1 exact rewrite of the graph; on the golden image a probability differs by 2.4e"),
    ],
)
def test_rewrites_are_told(tmp_path: Path, worst: float, words: str) -> None:
    dossier = dossier_of(tmp_path / "bundle")
    rewrite = {"name": "a", "places": 3, "max_abs_diff": worst, "flips_per_10k": 0.0}
    card = card_text(replace(dossier, trace={**dossier.trace, "rewrites": [rewrite]}))
    assert f"- {words}" in card
    assert "- Not quantised.\n" in card


def test_what_intervals_are_drawn_from(tmp_path: Path) -> None:
    dossier = dossier_of(tmp_path / "bundle")
    assert "95 %, by bootstrap over images." in card_text(dossier)
    clusters = Clusters((0, 0, 1, 1, 1), VOLUMES).to_json()
    data = {**dossier.performance["data"], "clusters": clusters}
    card = card_text(replace(dossier, performance={**dossier.performance, "data": data}))
    assert "95 %, by bootstrap over volumes.\n" in card
    assert "\n5 slices of 2 volumes; intervals resample volumes, of which 2 are too few" in card


@pytest.mark.parametrize(
    ("state", "is_accepted", "line"),
    [
        ("holds", False, ""),
        ("broken", False, "11 val images showed that it breaks a limit on its masks."),
        ("open", True, "and it was taken by --accept-uncertain."),
    ],
)
def test_what_the_build_could_not_tell_is_told(
    tmp_path: Path, state: str, is_accepted: bool, line: str
) -> None:
    dossier = dossier_of(tmp_path / "bundle")
    limits = LimitsRecord(state=state, images=11, labelled=11, is_accepted=is_accepted, verdicts=())
    manifest = dossier.bundle.manifest.model_copy(update={"limits": limits})
    card = card_text(replace(dossier, bundle=replace(dossier.bundle, manifest=manifest)))
    assert ("When it was built" in card) == bool(line)
    assert line in card


def test_what_was_not_measured_or_stated_is_told(tmp_path: Path) -> None:
    card = card_text(dossier_of(tmp_path / "bundle", is_measured=False, Task="", Limits=""))
    assert "Not measured: no report of `edgeseg bench` was given." in card
    assert "## Intended use\n\nNot stated. Ask who made the network what it is for" in card
    assert "license: other\n" in card
    assert "model-index" not in card
    assert "not a medical device" in card


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a\n## Heading\n---"])
def test_statements_open_no_tag_and_no_heading(tmp_path: Path, text: str) -> None:
    card = card_text(dossier_of(tmp_path / "bundle", Task=" ".join(text.split())))
    assert "<script" not in card
    assert "\n## Heading" not in card


def test_statements_of_a_card() -> None:
    text = """# Model card: x

- **Network:** X, 53,374 parameters.
- **Task:** outline of one lesion
  in an image; one class.
- **Made by:** `edgeseg train`.

| a | b |
|---|---|

**Limits.** One seed.
"""
    assert read_card(text) == {
        "Network": "X, 53,374 parameters.",
        "Task": "outline of one lesion in an image; one class.",
        "Made by": "`edgeseg train`.",
        "Limits": "One seed.",
    }
    assert read_card("nothing") == {}
    lines = "**Task:** x.\r- **License:** MIT.\n**Data:** y."
    assert read_card(lines) == {"Task": "x.", "Licence": "MIT.", "Data": "y."}


@pytest.mark.parametrize(
    "text", ["- **Task:** a.\n- **Task:** b.", "**Licence.** MIT.\u2028**License:** GPL."]
)
def test_a_card_states_a_thing_once(text: str) -> None:
    with pytest.raises(ValueError, match=r"it states (Task|Licence) twice"):
        read_card(text)


def test_numbers_of_a_text_are_compared_as_they_are_rounded() -> None:
    record = {"a": 0.96125, "b": -0.00112, "c": 0.3461, "d": [53374, "val, 220"], "e": 1.24e-5}
    sound = "0.9613 (0.9612..-0.0011), 35%, 53,374 of 220, 1.2e-05 in 2"
    assert unknown_numbers(sound, [record]) == []
    for wrong in ("0.9614", "0.96..0.0012", "36%", "53,375", "221", "1.3e-05"):
        assert unknown_numbers(wrong, [record]) != []
    assert 220.0 in numbers_of(record)


def test_a_licence_is_told_once_and_where_none_is_known_the_card_asks_for_it(
    tmp_path: Path,
) -> None:
    dossier = dossier_of(tmp_path / "bundle")
    assert dossier.unstated == ("Licence",)
    card = card_text(dossier)
    assert "## Licence of the weights\n\nNot stated. Ask who made the weights under" in card
    assert 'license: other\nlicense_name: "not stated"\n' in card
    stated = replace(dossier, card={**dossier.card, "Licence": "CC-BY-4.0."})
    assert stated.unstated == ()
    card = card_text(stated)
    assert "license: cc-by-4.0\n" in card
    assert "## Licence of the weights\n\nCC-BY-4.0.\n" in card
    words = replace(dossier, card={**dossier.card, "Licence": "ours, for research only"})
    assert 'license: other\nlicense_name: "ours, for research only"\n' in card_text(words)
    permit = replace(dossier, card={**dossier.card, "Licence": "Mit Auflagen."})
    assert 'license: other\nlicense_name: "Mit Auflagen"\n' in card_text(permit)
    assert "Ours, for research only.\n" in card_text(words)
