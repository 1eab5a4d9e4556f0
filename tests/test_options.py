from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.options import Options


@dataclass(frozen=True)
class Cooking(Options):
    minutes: int = 5
    salt: float = 0.5
    covered: bool = False
    pot: str = "small"

    aliases: ClassVar[Mapping[str, str]] = {"lid": "covered"}


def test_words_become_values_of_their_types() -> None:
    words = {"minutes": "7", "salt": "1e-1", "covered": "true", "pot": "7"}
    options = Cooking.parse("method boil", words)
    assert options.to_json() == {"minutes": 7, "salt": 0.1, "covered": True, "pot": "7"}
    assert Cooking.parse("method boil", {}) == Cooking()


def test_earlier_name_of_an_option_is_accepted() -> None:
    assert Cooking.parse("method boil", {"lid": "true"}) == Cooking(covered=True)
    with pytest.raises(UsageError, match="Give it as covered=false"):
        Cooking.parse("method boil", {"lid": "1"})


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Method boil has no option 'minute'.*mean minutes"):
        Cooking.parse("method boil", {"minute": "7"})


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("minutes", "half", "minutes=5"),
        ("salt", "much", r"salt=0\.5"),
        ("covered", "1", "covered=false"),
    ],
)
def test_value_of_another_type_shows_one_that_is_right(name: str, text: str, advice: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{name} of method boil is '{text}'.*Give it as {advice}"
    ):
        Cooking.parse("method boil", {name: text})
