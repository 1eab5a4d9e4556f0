from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from fake_evaluator import MENU, FakeLaboratory

from edgeseg.tuning.candidate import Choice
from edgeseg.tuning.constraints import Finding, Limits
from edgeseg.tuning.evaluator import Finish, Ratio, RememberingLaboratory
from edgeseg.tuning.search import Outcome, Search
from edgeseg.tuning.timing_cache import Journal


def journal_in(folder: Path, *, enabled: bool = True) -> Journal:
    """One whose clock goes on by a second each time it is looked at."""
    return Journal(folder, itertools.count(0.0, 1.0).__next__, enabled=enabled)


def latency_ms(choice: Choice) -> float:
    return 10.0 - len(choice.rewrites) - (choice.precision == "bf16") - len(choice.float_nodes) / 9


def search(laboratory: FakeLaboratory, journal: Journal) -> Outcome:
    remembering = RememberingLaboratory(laboratory, journal)
    limits = Limits(0.005, 0.9)
    return Search(MENU, remembering, limits, 1e6, lambda: journal.seconds).run()


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


class Mortal(FakeLaboratory):
    """Dies at a question."""

    def __init__(self, questions: int) -> None:
        super().__init__(latency_ms)
        self.questions = questions

    def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
        if len(self.asked) >= self.questions:
            raise Killed
        return super().race(challenger, incumbent, attempt)


@pytest.mark.parametrize("questions", [1, 5, 14])
def test_a_killed_search_goes_on_where_it_was(tmp_path: Path, questions: int) -> None:
    whole = FakeLaboratory(latency_ms)
    expected = search(whole, journal_in(tmp_path / "whole"))
    first, second = Mortal(questions), FakeLaboratory(latency_ms)
    with pytest.raises(Killed):
        search(first, journal_in(tmp_path / "resumed"))
    assert search(second, journal_in(tmp_path / "resumed")) == expected
    assert first.asked + second.asked == whole.asked


def test_a_search_that_was_done_measures_nothing_and_costs_what_it_cost(tmp_path: Path) -> None:
    journals = [journal_in(tmp_path), journal_in(tmp_path)]
    first, second = FakeLaboratory(latency_ms), FakeLaboratory(latency_ms)
    assert search(first, journals[0]) == search(second, journals[1])
    assert second.asked == []
    # A second for each answer, also of which rewrites change the graph.
    assert journals[0].seconds == journals[1].seconds == len(list(tmp_path.iterdir()))
    assert journals[0].seconds >= len(first.asked)


def test_without_the_cache_all_is_asked_anew(tmp_path: Path) -> None:
    for _ in range(2):
        laboratory = FakeLaboratory(latency_ms)
        search(laboratory, journal_in(tmp_path, enabled=False))
        assert laboratory.asked


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"question": 1, "answer": 2, "seconds": 3}'])
def test_a_damaged_answer_is_asked_again(tmp_path: Path, content: str) -> None:
    assert journal_in(tmp_path).ask({"a": [1]}, lambda: {"b": 1}) == {"b": 1}
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert journal_in(tmp_path).ask({"a": [1]}, lambda: {"b": 2}) == {"b": 2}
    assert journal_in(tmp_path).ask({"a": [1]}, lambda: {"b": 3}) == {"b": 2}


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        journal_in(tmp_path).ask({"a": 1}, fail)
    assert not list(tmp_path.iterdir())


def test_accidents_are_not_kept(tmp_path: Path) -> None:
    class Unlucky(FakeLaboratory):
        def examine(self, choice: Choice) -> Finding:
            self.asked.append("examine")
            return Finding(refusal="killed", is_accident=len(self.asked) == 1)

    laboratory = Unlucky(latency_ms)
    remembering = RememberingLaboratory(laboratory, journal_in(tmp_path))
    assert remembering.examine(Choice("fp32")).is_accident
    assert not remembering.examine(Choice("fp32")).is_accident  # asked again, and kept
    assert not remembering.examine(Choice("fp32")).is_accident
    assert laboratory.asked == ["examine"] * 2


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    class Talkative(FakeLaboratory):
        def examine(self, choice: Choice) -> Finding:
            return Finding("", 1, 2, 0.1, None, 3, {"int8": 4})

    choices = [Choice("fp32"), Choice("int8", method="plan", float_nodes=("a",))]
    for _ in range(2):
        laboratory = RememberingLaboratory(Talkative(latency_ms), journal_in(tmp_path))
        assert laboratory.examine(choices[1]) == Finding("", 1, 2, 0.1, None, 3, {"int8": 4})
        finishes = laboratory.line_up(choices)
        assert all(isinstance(one, Finish) for one in finishes)
        assert finishes[0].over_first == Ratio(1.0, 0.995, 1.005)
    assert laboratory.race(choices[0], None, 1) == laboratory.race(choices[0], None, 2)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_answer_that_is_found_is_marked_as_used(tmp_path: Path) -> None:
    journal_in(tmp_path).ask({"a": 1}, lambda: {"b": 2})
    (path,) = tmp_path.glob("*.json")
    os.utime(path, (1.0, 1.0))
    journal_in(tmp_path).ask({"a": 1}, lambda: {"b": 3})
    assert time.time() - path.stat().st_mtime < 3600
