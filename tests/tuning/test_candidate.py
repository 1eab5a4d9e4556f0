from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseg.errors import UsageError
from edgeseg.tuning.candidate import Candidate

WORDS = st.text(max_size=8)
CANDIDATES = st.builds(
    Candidate,
    precision=WORDS,
    rewrites=st.lists(WORDS, max_size=3).map(tuple),
    method=WORDS,
    method_options=st.dictionaries(WORDS, WORDS, max_size=3).map(lambda one: tuple(one.items())),
    float_nodes=st.lists(WORDS, max_size=3).map(tuple),
    variant=WORDS,
)


@given(CANDIDATES)
def test_a_candidate_survives_json(candidate: Candidate) -> None:
    assert Candidate.from_json(json.loads(json.dumps(candidate.to_json()))) == candidate


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rewrites": "fold"}, "'fold' is not a list"),
        ({"rewrites": [1]}, "1 is not text"),
        ({"precision": None}, "None is not text"),
        ({"method_options": []}, "no attribute 'items'"),
        ({"speed": 1}, "it has the fields"),
    ],
)
def test_what_is_no_candidate_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=f"{reason}.*Take the record") as caught:
        Candidate.from_json({**Candidate("fp32").to_json(), **changes})
    assert caught.value.exit_code == 2


def test_names_tell_what_is_special() -> None:
    assert Candidate("fp32").name == "fp32"
    assert Candidate("bf16", ("a",)).name == "bf16, 1 rewrite"
    candidate = Candidate("int8", ("a", "b"), "mse", (), ("conv",), "layout kept")
    assert candidate.name == "int8 by mse, 2 rewrites, 1 convolutions in float, layout kept"
