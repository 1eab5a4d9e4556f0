from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from fake_evaluator import SPACE, FakeEvaluator

from edgeseg.storage.cache import take_damaged
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Constraints, Evaluation
from edgeseg.tuning.evaluator import CachedEvaluator, FinalTiming, Ratio
from edgeseg.tuning.search import Search, TuningResult
from edgeseg.tuning.timing_cache import TimingCache


def cache_in(folder: Path, *, enabled: bool = True) -> TimingCache:
    """One whose clock goes on by a second each time it is looked at."""
    return TimingCache(folder, itertools.count(0.0, 1.0).__next__, enabled=enabled)


def latency_ms(candidate: Candidate) -> float:
    return (
        10.0
        - len(candidate.rewrites)
        - (candidate.precision == "bf16")
        - len(candidate.float_nodes) / 9
    )


def search(evaluator: FakeEvaluator, timing_cache: TimingCache) -> TuningResult:
    remembering = CachedEvaluator(evaluator, timing_cache)
    constraints = Constraints({"dice_pooled": 0.005}, 0.9)
    return Search(SPACE, remembering, constraints, 1e6, lambda: timing_cache.seconds).run()


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


class Mortal(FakeEvaluator):
    """Dies at a question."""

    def __init__(self, questions: int) -> None:
        super().__init__(latency_ms)
        self.questions = questions

    def race(self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1) -> Ratio:
        if len(self.asked) >= self.questions:
            raise Killed
        return super().race(challenger, incumbent, attempt)


@pytest.mark.parametrize("questions", [1, 5, 14])
def test_a_killed_search_goes_on_where_it_was(tmp_path: Path, questions: int) -> None:
    whole = FakeEvaluator(latency_ms)
    expected = search(whole, cache_in(tmp_path / "whole"))
    first, second = Mortal(questions), FakeEvaluator(latency_ms)
    with pytest.raises(Killed):
        search(first, cache_in(tmp_path / "resumed"))
    assert search(second, cache_in(tmp_path / "resumed")) == expected
    assert first.asked + second.asked == whole.asked


def test_a_search_that_was_done_measures_nothing_and_costs_what_it_cost(tmp_path: Path) -> None:
    caches = [cache_in(tmp_path), cache_in(tmp_path)]
    first, second = FakeEvaluator(latency_ms), FakeEvaluator(latency_ms)
    assert search(first, caches[0]) == search(second, caches[1])
    assert second.asked == []
    # A second for each answer, also of which rewrites change the graph.
    assert caches[0].seconds == caches[1].seconds == len(list(tmp_path.iterdir()))
    assert caches[0].seconds >= len(first.asked)


def test_without_the_cache_all_is_asked_anew(tmp_path: Path) -> None:
    for _ in range(2):
        evaluator = FakeEvaluator(latency_ms)
        search(evaluator, cache_in(tmp_path, enabled=False))
        assert evaluator.asked


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"question": 1, "answer": 2, "seconds": 3}'])
def test_a_damaged_answer_is_asked_again(tmp_path: Path, content: str) -> None:
    assert cache_in(tmp_path).ask({"a": [1]}, lambda: {"b": 1}) == {"b": 1}
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert cache_in(tmp_path).ask({"a": [1]}, lambda: {"b": 2}) == {"b": 2}
    assert cache_in(tmp_path).ask({"a": [1]}, lambda: {"b": 3}) == {"b": 2}


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache_in(tmp_path).ask({"a": 1}, fail)
    assert not list(tmp_path.iterdir())


def test_accidents_are_not_kept(tmp_path: Path) -> None:
    class Unlucky(FakeEvaluator):
        def evaluate(self, candidate: Candidate) -> Evaluation:
            self.asked.append("evaluate")
            return Evaluation(refusal="killed", is_accident=len(self.asked) == 1)

    evaluator = Unlucky(latency_ms)
    remembering = CachedEvaluator(evaluator, cache_in(tmp_path))
    assert remembering.evaluate(Candidate("fp32")).is_accident
    assert not remembering.evaluate(Candidate("fp32")).is_accident  # asked again, and kept
    assert not remembering.evaluate(Candidate("fp32")).is_accident
    assert evaluator.asked == ["evaluate"] * 2


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    class Talkative(FakeEvaluator):
        def evaluate(self, candidate: Candidate) -> Evaluation:
            return Evaluation("", 1, 2, 0.1, None, 3, {"int8": 4})

    candidates = [Candidate("fp32"), Candidate("int8", method="plan", float_nodes=("a",))]
    for _ in range(2):
        evaluator = CachedEvaluator(Talkative(latency_ms), cache_in(tmp_path))
        assert evaluator.evaluate(candidates[1]) == Evaluation("", 1, 2, 0.1, None, 3, {"int8": 4})
        timings = evaluator.time_finalists(candidates)
        assert all(isinstance(one, FinalTiming) for one in timings)
        assert timings[0].over_first == Ratio(1.0, 0.995, 1.005)
    assert evaluator.race(candidates[0], None, 1) == evaluator.race(candidates[0], None, 2)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_answer_that_is_found_is_marked_as_used(tmp_path: Path) -> None:
    cache_in(tmp_path).ask({"a": 1}, lambda: {"b": 2})
    (path,) = tmp_path.glob("*.json")
    os.utime(path, (1.0, 1.0))
    cache_in(tmp_path).ask({"a": 1}, lambda: {"b": 3})
    assert time.time() - path.stat().st_mtime < 3600


def test_an_answer_that_was_changed_is_asked_again_and_told(tmp_path: Path) -> None:
    take_damaged()
    cache_in(tmp_path).ask({"a": 1}, lambda: {"flips": 9})
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace('"flips": 9', '"flips": 0'))
    assert cache_in(tmp_path).ask({"a": 1}, lambda: {"flips": 9}) == {"flips": 9}
    assert take_damaged() == [path]
    assert cache_in(tmp_path).ask({"a": 1}, lambda: {"flips": 8}) == {"flips": 9}


def test_a_folder_in_the_place_of_an_answer_is_removed(tmp_path: Path) -> None:
    cache_in(tmp_path).ask({"a": 1}, lambda: {"flips": 9})
    (path,) = tmp_path.iterdir()
    path.unlink()
    (path / "inner").mkdir(parents=True)
    assert cache_in(tmp_path).ask({"a": 1}, lambda: {"flips": 9}) == {"flips": 9}
    assert path.is_file()
