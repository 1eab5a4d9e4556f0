"""What the search does where candidates are too large, fail, or time is short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_evaluator import (
    CONVS,
    FIXED,
    GOOD,
    SPACE,
    FakeEvaluator,
    by_rewrites,
    search,
)

from edgeseg.errors import BenchmarkError, TargetError
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Evaluation
from edgeseg.tuning.evaluator import Ratio
from edgeseg.tuning.regions import QuantizableConv


def test_statistics_go_to_int8_where_the_rest_is_too_large() -> None:
    def evaluation(candidate: Candidate) -> Evaluation:
        return replace(GOOD, artifact_bytes=200 if candidate.float_nodes else 100)

    def latency_ms(candidate: Candidate) -> float:
        return 10.0 - 3 * ("norm" in candidate.rewrites) - 2 * (candidate.method == "plan")

    space = replace(SPACE, fixed=(Candidate("fp32", ("norm",)), *FIXED[1:]))
    candidate = search(FakeEvaluator(latency_ms, evaluation), space=space).candidate
    assert candidate == Candidate("int8", ("norm",), method="plan")


def test_statistics_with_most_weights_go_to_int8_until_it_fits() -> None:
    """Of three convolutions that a rewrite makes, one is too many in float."""
    convs = [
        QuantizableConv("made0", (8, 8), weights=5),
        QuantizableConv("made1", (8, 8), weights=9),
    ]
    convs.append(QuantizableConv("made2", (8, 8), weights=2))

    class Evaluator(FakeEvaluator):
        def convs(self, rewrites: Sequence[str]) -> list[QuantizableConv]:
            return [*CONVS, *(convs if "norm" in rewrites else [])]

    def evaluation(candidate: Candidate) -> Evaluation:
        weights = sum(conv.weights for conv in convs if conv.name in candidate.float_nodes)
        flips = 9.0 if "made0" not in candidate.float_nodes else 1.0
        return replace(GOOD, artifact_bytes=75 + 3 * weights, flips_per_10k=flips)

    def latency_ms(candidate: Candidate) -> float:
        return 10.0 - 3 * ("norm" in candidate.rewrites) - 2 * (candidate.method == "plan")

    space = replace(SPACE, fixed=(Candidate("fp32", ("norm",)), *FIXED[1:]))
    candidate = search(Evaluator(latency_ms, evaluation), space=space).candidate
    assert candidate == Candidate("int8", ("norm",), method="plan", float_nodes=("made0", "made2"))


def test_a_graph_that_gets_too_large_loses_its_largest_rewrites_first() -> None:
    def evaluation(candidate: Candidate) -> Evaluation:
        return replace(GOOD, artifact_bytes=150 if "resize" in candidate.rewrites else 90)

    gains = {"fold": 0.9, "norm": 0.9, "resize": 0.1}
    space = replace(SPACE, fixed=(Candidate("fp32", SPACE.rewrites), *FIXED[1:]))
    evaluator = FakeEvaluator(by_rewrites(gains), evaluation)  # type: ignore[arg-type]
    outcome = search(evaluator, budget_s=20, space=space)
    assert outcome.candidate == Candidate("fp32", ("fold", "norm"))
    assert [trial.stage for trial in outcome.trials[:3]] == ["float"] * 3


def test_a_budget_leaves_out_what_need_not_be_known() -> None:
    evaluator = FakeEvaluator(lambda candidate: 10.0 - len(candidate.rewrites))
    outcome = search(evaluator, budget_s=0)
    assert outcome.skipped > 0
    tried = {trial.candidate for trial in outcome.trials}
    assert tried >= set(FIXED)
    assert {trial.stage for trial in outcome.trials} == {"float", "precision", "int8"}


def test_without_time_no_graph_is_lowered_either() -> None:
    class Counting(FakeEvaluator):
        def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
            self.asked.append("effective")
            return super().effective(rewrites)

    evaluator = Counting(lambda candidate: 10.0 - len(candidate.rewrites))
    search(evaluator, budget_s=0)
    assert "effective" not in evaluator.asked


def test_a_race_that_fails_is_a_refusal() -> None:
    class Failing(FakeEvaluator):
        def race(
            self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1
        ) -> Ratio:
            if challenger.precision == "bf16":
                raise BenchmarkError("The process ended with signal SIGKILL.")
            return super().race(challenger, incumbent, attempt)

    outcome = search(Failing(lambda candidate: 10.0))
    refused = [trial for trial in outcome.trials if trial.candidate == Candidate("bf16")]
    assert refused[0].violation == "The process ended with signal SIGKILL."


def test_where_all_is_too_large_the_smallest_of_full_precision_is_taken() -> None:
    def evaluation(candidate: Candidate) -> Evaluation:
        return replace(GOOD, artifact_bytes=200 + len(candidate.rewrites))

    outcome = search(FakeEvaluator(lambda candidate: 10.0, evaluation))
    assert outcome.candidate == Candidate("fp32")
    assert "more than" in outcome.violation
    (first, *_) = outcome.final
    assert first[0] == Candidate("fp32")


def test_nothing_to_choose_names_the_reasons() -> None:
    evaluator = FakeEvaluator(
        lambda candidate: 10.0, lambda candidate: Evaluation("No such operator.")
    )
    with pytest.raises(TargetError, match=r"fp32: No such operator\..*or name a --precision"):
        search(evaluator)
