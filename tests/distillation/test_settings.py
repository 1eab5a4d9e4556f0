from __future__ import annotations

import json
from typing import Any

import pytest

from edgeseg.distillation.settings import METHODS, TERMS, DistillSettings, find_method
from edgeseg.errors import UnknownNameError, UsageError


def test_graph_flow_has_the_weights_of_the_paper() -> None:
    settings = find_method("graphflow")
    assert (settings.vertices, settings.edges) == (1e-5, 1e-8)
    assert (settings.adversarial, settings.logits, settings.pseudo) == (0.1, 1.0, 0.0)
    assert (settings.temperature, settings.nodes, settings.normalized) == (1.0, 24, False)


@pytest.mark.parametrize(
    ("method", "teacher", "features"),
    [
        ("graphflow", True, True),
        ("graphflow-normalized", True, True),
        ("logits", True, False),
        ("pseudo-labels", True, False),
        ("none", False, False),
    ],
)
def test_methods_say_what_they_need(method: str, teacher: bool, features: bool) -> None:
    settings = find_method(method)
    assert (settings.needs_teacher, settings.needs_features) == (teacher, features)


def test_settings_are_json_and_change_where_given() -> None:
    settings = find_method("logits")
    assert DistillSettings(**json.loads(json.dumps(settings.to_json()))) == settings
    assert settings.changed({"views": None, "logits": 2.0}).logits == 2.0
    assert settings.changed({"views": None}) == settings


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"'grafflow'\. Did you mean graphflow\?"):
        find_method("grafflow")
    with pytest.raises(UnknownNameError, match="Did you mean logits"):
        METHODS["none"].changed({"logit": 1.0})


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_are_numbers_from_0_on(term: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"weight {term}.*number from 0 on"):
        DistillSettings(**{term: value})


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ({"temperature": 0.0}, "above zero"),
        ({"nodes": 0}, "above zero"),
        ({"critic_width": 0}, "above zero"),
        ({"views": 3}, "choose 1, 2, 4 or 8"),
        ({"mixup": 1.5}, "--mixup is 1.5; it is a chance"),
        ({"cutmix": -0.1}, "--cutmix is -0.1; it is a chance"),
        ({"mixup": 0.5, "views": 8}, "Leave --views or --mixup out"),
    ],
)
def test_other_settings_have_bounds(setting: dict[str, Any], advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        DistillSettings(**setting)
