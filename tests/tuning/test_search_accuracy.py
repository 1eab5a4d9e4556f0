"""What the search does with candidates that break limits, or of which images cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_evaluator import (
    CONVS,
    GOOD,
    LIMITS,
    FakeEvaluator,
    dropping,
    flipping,
    search,
)

from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Constraints, Evaluation
from edgeseg.tuning.regions import QuantizableConv
from edgeseg.tuning.search import TuningResult

ALL = {conv.name for conv in CONVS}


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        (
            dropping(0.03, 0.02),
            "pooled Dice falls by 0.0300 (0.0100..0.0500) on 40 images, and at most 0.005 is",
        ),
        (replace(GOOD, artifact_bytes=101), "more than the 0 kB of the plain export"),
        (replace(GOOD, peak_rss_bytes=3_000_000), "3.0 MB of memory"),
        (Evaluation("OpenVINO does not read it."), "OpenVINO does not read it."),
        (dropping(float("nan")), "pooled Dice falls by nan"),
    ],
)
def test_what_breaks_a_limit_is_not_even_timed(evaluation: Evaluation, reason: str) -> None:
    evaluator = FakeEvaluator(
        lambda candidate: 1.0 if candidate.precision == "bf16" else 10.0,
        lambda candidate: evaluation if candidate.precision == "bf16" else GOOD,
    )
    outcome = search(evaluator)
    assert outcome.candidate.precision == "fp32"
    refused = [trial for trial in outcome.trials if trial.candidate.precision == "bf16"]
    assert refused
    assert all(reason in trial.violation for trial in refused)
    assert "race bf16" not in evaluator.asked


def test_few_images_reject_the_hopeless_only_and_all_decide() -> None:
    """What loses three times as much as it may on few images may keep the limit on all."""
    times = {"fp32": 10.0, "bf16": 6.0, "int8": 8.0}
    evaluator = FakeEvaluator(
        lambda candidate: times[candidate.precision],
        lambda candidate: dropping(0.015 if candidate.precision == "bf16" else 0.0, 0.011),
    )
    evaluator.scores[Candidate("bf16")] = dropping(0.002, images=100)
    assert search(evaluator).candidate.precision == "bf16"


def test_agreement_counts_where_it_is_asked_for() -> None:
    evaluator = FakeEvaluator(
        lambda candidate: 1.0 if candidate.precision == "bf16" else 10.0,
        lambda candidate: flipping(101.0 if candidate.precision == "bf16" else 99.0),
    )
    outcome = search(evaluator, constraints=Constraints({}, 0.99))
    assert outcome.candidate.precision == "fp32"
    (refused, *_) = [trial for trial in outcome.trials if trial.violation]
    assert refused.violation == (
        "101.0 of 10,000 pixels flip (101.0..101.0) on 40 images, and at most 100 of 10,000 pixels "
        "is allowed"
    )


def made_of(*, chosen: Evaluation, accept_uncertain: bool = False) -> TuningResult:
    """What a search finds where BF16 is fastest, and all images say that of it; FP32 is exact."""

    def evaluation(candidate: Candidate) -> Evaluation:
        if candidate.precision == "bf16":
            return replace(chosen, findings=())
        return replace(dropping(0.0, images=3), is_exact=candidate.precision == "fp32")

    times = {"fp32": 10.0, "bf16": 5.0, "int8": 20.0}
    evaluator = FakeEvaluator(lambda candidate: times[candidate.precision], evaluation)
    for variant in ((), ("fold",)):
        evaluator.scores[Candidate("bf16", variant)] = chosen
    constraints = replace(LIMITS, accept_uncertain=accept_uncertain)
    return search(evaluator, budget_s=0, constraints=constraints)


def test_what_the_images_cannot_tell_is_not_taken_and_the_exact_form_is() -> None:
    outcome = made_of(chosen=dropping(0.002, 0.004))
    assert outcome.candidate.precision == "fp32"
    known = dict(zip((trial.candidate for trial in outcome.trials), outcome.states, strict=True))
    assert known[Candidate("bf16")] == "open"
    assert known[outcome.candidate] == "holds"
    (trial,) = (trial for trial in outcome.trials if trial.candidate == Candidate("bf16"))
    assert not trial.leads
    assert trial.ratio is not None  # it was timed, so that what it would bring is known
    assert trial.violation == (
        "pooled Dice falls by 0.0020 (-0.0020..0.0060) on 40 images, which cannot tell whether it "
        "is at most 0.005: about 72 would tell; --accept-uncertain takes it all the same"
    )


def test_the_uncertain_is_taken_where_the_user_says_so() -> None:
    outcome = made_of(chosen=dropping(0.002, 0.004), accept_uncertain=True)
    assert outcome.candidate == Candidate("bf16")
    beyond = made_of(chosen=dropping(0.006, 0.004), accept_uncertain=True)
    assert beyond.candidate.precision == "fp32"
    broken = made_of(chosen=dropping(0.02, 0.004), accept_uncertain=True)
    assert broken.candidate.precision == "fp32"


def test_exact_forms_are_looked_at_on_all_images_when_they_are_chosen() -> None:
    """Networks are slow, and val images many: only the winner is worth it."""
    times = {"fp32": 10.0, "bf16": 20.0, "int8": 20.0}
    evaluator = FakeEvaluator(
        lambda candidate: times[candidate.precision] - len(candidate.rewrites),
        lambda candidate: replace(GOOD, is_exact=candidate.precision == "fp32"),
    )
    outcome = search(evaluator)
    scored = [question for question in evaluator.asked if question.startswith("score")]
    assert scored == [f"score {outcome.candidate.name}"]
    told = zip(outcome.trials, outcome.states, strict=True)
    leading = [state for trial, state in told if trial.leads]
    assert len(leading) > 1
    assert set(leading) == {"holds"}


def test_the_point_alone_decides_nothing() -> None:
    within = made_of(chosen=dropping(0.0049, 0.0002))
    beyond = made_of(chosen=dropping(0.0046, 0.0004))
    assert (within.candidate.precision, beyond.candidate.precision) == ("fp32", "bf16")


def test_depthwise_convolutions_stay_in_float_where_no_int8_is_good_otherwise() -> None:
    class Evaluator(FakeEvaluator):
        def convs(self, rewrites: Sequence[str]) -> list[QuantizableConv]:
            return [replace(conv, is_depthwise=conv.name in depthwise) for conv in CONVS]

    depthwise = ("conv1", "conv3")
    times = {"fp32": 10.0, "bf16": 20.0, "int8": 5.0}

    def evaluation(candidate: Candidate) -> Evaluation:
        is_good = not candidate.method or set(depthwise) <= set(candidate.float_nodes)
        return dropping(0.0 if is_good else 0.02)

    outcome = search(Evaluator(lambda candidate: times[candidate.precision], evaluation))
    assert (outcome.candidate.method, outcome.candidate.float_nodes) == ("plan", depthwise)


def test_what_changes_the_masks_most_stays_in_float_where_no_int8_is_good_otherwise() -> None:
    class Evaluator(FakeEvaluator):
        def kept_in_float(self, candidate: Candidate) -> tuple[str, ...]:
            self.asked.append("kept in float")
            return tuple(sorted({*candidate.float_nodes, "conv2"}))

    times = {"fp32": 10.0, "bf16": 20.0, "int8": 5.0}
    is_good = {True: dropping(0.0), False: dropping(0.02)}
    evaluator = Evaluator(
        lambda candidate: times[candidate.precision],
        lambda candidate: is_good[not candidate.method or "conv2" in candidate.float_nodes],
    )
    outcome = search(evaluator)
    assert (outcome.candidate.method, outcome.candidate.float_nodes) == ("plan", ("conv2",))
    assert evaluator.asked.count("kept in float") == 1
    good = Evaluator(lambda candidate: times[candidate.precision], lambda _: is_good[True])
    search(good)
    assert "kept in float" not in good.asked
