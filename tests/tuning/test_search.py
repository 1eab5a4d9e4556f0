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
    dropping,
    search,
)

from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Evaluation
from edgeseg.tuning.evaluator import FinalTiming, Ratio
from edgeseg.tuning.regions import QuantizableConv

ALL = {conv.name for conv in CONVS}


def test_rewrites_that_pay_are_kept_and_others_left_out() -> None:
    gains = {"fold": 0.9, "norm": 1.3, "resize": 0.8}
    outcome = search(FakeEvaluator(by_rewrites(gains)))  # type: ignore[arg-type]
    assert outcome.candidate == Candidate("fp32", ("fold", "resize"))
    ((candidate, timing), *_) = outcome.final
    assert candidate == outcome.candidate
    assert timing.over_plain.speedup == pytest.approx(1 / 0.72)


def test_the_fastest_precision_wins() -> None:
    times = {"fp32": 10.0, "bf16": 6.0, "int8": 8.0}
    outcome = search(FakeEvaluator(lambda candidate: times[candidate.precision]))
    assert outcome.candidate.precision == "bf16"
    # Each single precision takes part in the last run.
    assert {candidate for candidate, _ in outcome.final} >= set(FIXED)


def test_regions_go_to_int8_only_where_that_is_faster() -> None:
    """conv0 and conv1 gain from INT8, the others lose."""

    def latency_ms(candidate: Candidate) -> float:
        if candidate.method != "plan":
            return 10.0 if candidate.precision == "fp32" else 20.0
        inside = ALL - set(candidate.float_nodes)
        gain = {"conv0": 2.0, "conv1": 1.5, "conv2": -1.0, "conv3": -9.0}
        return 10.0 - sum(gain[name] for name in inside) + len(candidate.rewrites)

    outcome = search(FakeEvaluator(latency_ms))
    assert outcome.candidate == Candidate("int8", method="plan", float_nodes=("conv2", "conv3"))
    regions = [trial.region for trial in outcome.trials if trial.stage == "region"]
    assert "region 1 (2 convolutions at 64x64) in INT8" in regions


def test_regions_leave_int8_where_float_is_faster() -> None:
    def latency_ms(candidate: Candidate) -> float:
        if candidate.method != "plan":
            return 10.0
        return 5.0 + 2.0 * ("conv3" not in candidate.float_nodes)

    outcome = search(FakeEvaluator(latency_ms))
    assert outcome.candidate.precision == "int8"
    assert "conv3" in outcome.candidate.float_nodes
    assert outcome.trials[-1].over_plain is not None
    assert any(trial.region.endswith("in float") and trial.leads for trial in outcome.trials)


def test_convolutions_of_statistics_stay_in_float_and_others_of_rewrites_do_not() -> None:
    def latency_ms(candidate: Candidate) -> float:
        gains = 3 * len({"norm", "resize"}.intersection(candidate.rewrites))
        return 10.0 - gains - 2 * (candidate.method == "plan")

    outcome = search(FakeEvaluator(latency_ms))
    assert {"norm", "resize"} <= set(outcome.candidate.rewrites)
    assert outcome.candidate.method == "plan"
    assert "mean" in outcome.candidate.float_nodes
    assert "small" not in outcome.candidate.float_nodes


def test_other_calibrators_are_tried_where_the_masks_are_not_good_enough() -> None:
    space = replace(SPACE, calibrators=("entropy", "mse", "percentile"))

    def evaluation(candidate: Candidate) -> Evaluation:
        drop = 0.03 if candidate.method and candidate.method != "mse" else 0.001
        return dropping(drop, 0.001)

    evaluator = FakeEvaluator(lambda candidate: 5.0 if candidate.method else 10.0, evaluation)
    outcome = search(evaluator, space=space)
    assert outcome.candidate.method == "mse"
    methods = [trial.candidate.method for trial in outcome.trials]
    assert "entropy" in methods

    evaluator = FakeEvaluator(lambda candidate: 10.0 if candidate.method else 5.0)
    methods = [trial.candidate.method for trial in search(evaluator, space=space).trials]
    assert "entropy" not in methods


@pytest.mark.parametrize(("plan_ms", "is_tried"), [(4.9, True), (5.05, True), (6.0, False)])
def test_where_a_plan_is_as_fast_as_any_its_ranges_are_chosen(
    plan_ms: float, is_tried: bool
) -> None:
    space = replace(SPACE, calibrators=("entropy", "mse", "percentile"))
    flips = {"plan": 10.0, "tool": 12.0, "entropy": 9.0, "mse": 5.0, "percentile": 7.0}

    def latency_ms(candidate: Candidate) -> float:
        if candidate.precision != "int8":
            return 10.0
        return 5.0 if candidate.method in ("tool", "mse") else plan_ms

    evaluator = FakeEvaluator(
        latency_ms, lambda candidate: replace(GOOD, flips_per_10k=flips.get(candidate.method, 0.0))
    )
    outcome = search(evaluator, space=space)
    methods = {trial.candidate.method for trial in outcome.trials}
    assert set(space.calibrators).isdisjoint(methods) != is_tried
    if is_tried:
        assert outcome.candidate.method == ("percentile" if plan_ms < 5 else "mse")


def test_the_winner_must_keep_the_limits_on_all_images() -> None:
    times = {"fp32": 10.0, "bf16": 6.0, "int8": 8.0}
    evaluator = FakeEvaluator(lambda candidate: times[candidate.precision])
    evaluator.scores[Candidate("bf16")] = dropping(0.1, images=100)
    outcome = search(evaluator)
    assert outcome.candidate.precision != "bf16" or outcome.candidate.rewrites
    trials = {trial.candidate: trial for trial in outcome.trials}
    assert "on 100 images" in trials[Candidate("bf16")].violation


def test_a_single_precision_that_is_faster_after_all_is_taken() -> None:
    class Fickle(FakeEvaluator):
        """Its short races favour FP32; in the long run BF16 is faster."""

        def race(
            self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1
        ) -> Ratio:
            self.asked.append(f"race {challenger.name}")
            return Ratio(0.9, 0.89, 0.91)

    outcome = search(Fickle(lambda candidate: 5.0 if candidate == Candidate("bf16") else 10.0))
    assert outcome.candidate == Candidate("bf16")


def test_a_narrow_win_must_be_won_twice() -> None:
    class Lucky(FakeEvaluator):
        """BF16 wins its first race by luck."""

        def race(
            self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1
        ) -> Ratio:
            self.asked.append(f"race {challenger.name} {attempt}")
            if challenger.precision == "bf16" and attempt == 1:
                return Ratio(1.05, 1.02, 1.08)
            return Ratio(0.99, 0.98, 1.0)

    evaluator = Lucky(lambda candidate: 10.0)
    assert search(evaluator).candidate.precision == "fp32"
    assert "race bf16 2" in evaluator.asked


def test_ties_keep_the_one_that_leads() -> None:
    evaluator = FakeEvaluator(lambda candidate: 10.0 if candidate.precision == "fp32" else 9.97)
    assert search(evaluator).candidate == Candidate("fp32")


@pytest.mark.parametrize(
    ("latency_ms", "flips", "leads"),
    [
        (10.0, 7.0, True),
        (9.96, 7.0, True),
        (10.04, 7.0, True),
        (10.0, 8.5, False),  # by less than a fifth
        (10.08, 7.0, False),  # a little slower
    ],
)
def test_of_two_as_fast_the_one_that_is_nearer_leads(
    latency_ms: float, flips: float, leads: bool
) -> None:
    plan = Candidate("int8", method="plan")
    evaluator = FakeEvaluator(
        lambda candidate: {"tool": 10.0, "plan": latency_ms}.get(candidate.method, 20.0),
        lambda candidate: replace(
            GOOD, flips_per_10k=flips if candidate.method == "plan" else 10.0
        ),
    )
    outcome = search(evaluator)
    (trial,) = (trial for trial in outcome.trials if trial.candidate == plan)
    assert trial.leads == leads
    assert (outcome.candidate.method == "plan") == leads


def test_ties_do_not_add_up_to_a_slower_one() -> None:
    """Each convolution in float costs 0.15 % and takes a quarter of the flips away."""

    def latency_ms(candidate: Candidate) -> float:
        if candidate.method != "plan" or candidate.rewrites:
            return 10.0
        return 5.0 * 1.0015 ** len(candidate.float_nodes)

    def evaluation(candidate: Candidate) -> Evaluation:
        return replace(GOOD, flips_per_10k=100 * 0.75 ** len(candidate.float_nodes))

    convs = [QuantizableConv(f"conv{index}", (64 >> index // 2, 64), 100) for index in range(24)]
    evaluator = FakeEvaluator(latency_ms, evaluation)
    evaluator.convs = lambda rewrites: convs  # type: ignore[method-assign]
    outcome = search(evaluator)
    assert outcome.candidate.float_nodes
    times = [latency_ms(trial.candidate) for trial in outcome.trials]
    assert latency_ms(outcome.candidate) <= 1.01 * min(times)


def test_one_pixel_fewer_is_no_reason() -> None:
    flips = {"fp32": 0.1, "bf16": 0.01, "int8": 5.0}
    evaluator = FakeEvaluator(
        lambda candidate: 10.0 if candidate.precision != "int8" else 20.0,
        lambda candidate: replace(GOOD, flips_per_10k=flips[candidate.precision]),
    )
    assert search(evaluator).candidate.precision == "fp32"


def test_the_last_run_leaves_the_nearer_of_two_as_fast() -> None:
    class Steady(FakeEvaluator):
        """Tells 0.4 % apart in the last run."""

        def time_finalists(self, candidates: Sequence[Candidate]) -> list[FinalTiming]:
            found = super().time_finalists(candidates)
            ratios = [one.over_first for one in found]
            return [
                FinalTiming(one.over_plain, Ratio(r.speedup, r.speedup * 0.999, r.speedup * 1.001))
                for one, r in zip(found, ratios, strict=True)
            ]

    for flips, method in ((3.0, "plan"), (10.0, "tool")):
        evaluator = Steady(
            lambda candidate: {"tool": 10.0, "plan": 10.04}.get(candidate.method, 20.0),
            lambda candidate, flips=flips: replace(  # type: ignore[misc]
                GOOD, flips_per_10k=flips if candidate.method == "plan" else 10.0
            ),
        )
        assert search(evaluator).candidate.method == method


def test_ranges_are_chosen_where_int8_leads_late() -> None:
    """INT8 pays on the plain graph only."""
    space = replace(SPACE, calibrators=("mse",))

    def latency_ms(candidate: Candidate) -> float:
        return 5.0 if candidate.method in ("plan", "mse") and not candidate.rewrites else 10.0

    evaluator = FakeEvaluator(
        latency_ms,
        lambda candidate: replace(GOOD, flips_per_10k=5.0 if candidate.method == "mse" else 10.0),
    )
    assert search(evaluator, space=space).candidate.method == "mse"


def test_other_ranges_keep_what_leads() -> None:
    """One that is faster by less than a percent did not lead; ranges are chosen for the leader."""
    space = replace(SPACE, calibrators=("mse",))

    def latency_ms(candidate: Candidate) -> float:
        if candidate.method not in ("plan", "mse"):
            return 10.0
        return 4.97 if candidate.variant else 5.0

    def evaluation(candidate: Candidate) -> Evaluation:
        flips = 20.0 if candidate.variant else 10.0
        return replace(GOOD, flips_per_10k=flips / 2 if candidate.method == "mse" else flips)

    outcome = search(FakeEvaluator(latency_ms, evaluation), space=space)
    assert outcome.candidate.method == "mse"
    assert not outcome.candidate.variant


def test_uncertain_race_is_no_tie() -> None:
    class Noisy(FakeEvaluator):
        def race(
            self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1
        ) -> Ratio:
            ratio = super().race(challenger, incumbent, attempt)
            return ratio if incumbent is None else Ratio(ratio.speedup, 0.9, 1.2)

    evaluator = Noisy(
        lambda candidate: 10.0,
        lambda candidate: replace(GOOD, flips_per_10k=1.0 if candidate.method == "plan" else 10.0),
    )
    assert not any(trial.leads for trial in search(evaluator).trials[1:])
