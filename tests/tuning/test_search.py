from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_evaluator import FIXED, MENU, SITES, FakeLaboratory

from edgeseg.errors import BenchmarkError, TargetError
from edgeseg.tuning.candidate import Choice
from edgeseg.tuning.constraints import Finding, Limits
from edgeseg.tuning.evaluator import Finish, Ratio
from edgeseg.tuning.regions import Site
from edgeseg.tuning.search import Outcome, Search
from edgeseg.tuning.space import Menu

LIMITS = Limits(max_dice_drop=0.005, min_agreement=None)
ALL = {site.name for site in SITES}
GOOD = Finding("", 100, 100, 1.0, 0.0, 4)


def search(
    laboratory: FakeLaboratory, budget_s: float = 1e6, limits: Limits = LIMITS, menu: Menu = MENU
) -> Outcome:
    return Search(menu, laboratory, limits, budget_s, lambda: laboratory.seconds).run()


def by_rewrites(gains: dict[str, float]) -> object:
    """Latency of float choices that rewrites change by these factors; others are slow."""

    def latency_ms(choice: Choice) -> float:
        latency = 10.0 if choice.precision == "fp32" else 100.0
        for name in choice.rewrites:
            latency *= gains[name]
        return latency

    return latency_ms


def test_rewrites_that_pay_are_kept_and_others_left_out() -> None:
    gains = {"fold": 0.9, "norm": 1.3, "resize": 0.8}
    outcome = search(FakeLaboratory(by_rewrites(gains)))  # type: ignore[arg-type]
    assert outcome.choice == Choice("fp32", ("fold", "resize"))
    ((choice, finish), *_) = outcome.final
    assert choice == outcome.choice
    assert finish.over_plain.speedup == pytest.approx(1 / 0.72)


def test_the_fastest_precision_wins() -> None:
    times = {"fp32": 10.0, "bf16": 6.0, "int8": 8.0}
    outcome = search(FakeLaboratory(lambda choice: times[choice.precision]))
    assert outcome.choice.precision == "bf16"
    # Each single precision takes part in the last run.
    assert {choice for choice, _ in outcome.final} >= set(FIXED)


def test_regions_go_to_int8_only_where_that_is_faster() -> None:
    """conv0 and conv1 gain from INT8, the others lose."""

    def latency_ms(choice: Choice) -> float:
        if choice.method != "plan":
            return 10.0 if choice.precision == "fp32" else 20.0
        inside = ALL - set(choice.float_nodes)
        gain = {"conv0": 2.0, "conv1": 1.5, "conv2": -1.0, "conv3": -9.0}
        return 10.0 - sum(gain[name] for name in inside) + len(choice.rewrites)

    outcome = search(FakeLaboratory(latency_ms))
    assert outcome.choice == Choice("int8", method="plan", float_nodes=("conv2", "conv3"))
    regions = [trial.region for trial in outcome.trials if trial.stage == "region"]
    assert "region 1 (2 convolutions at 64x64) in INT8" in regions


def test_regions_leave_int8_where_float_is_faster() -> None:
    def latency_ms(choice: Choice) -> float:
        if choice.method != "plan":
            return 10.0
        return 5.0 + 2.0 * ("conv3" not in choice.float_nodes)

    outcome = search(FakeLaboratory(latency_ms))
    assert outcome.choice.precision == "int8"
    assert "conv3" in outcome.choice.float_nodes
    assert outcome.trials[-1].over_plain is not None
    assert any(trial.region.endswith("in float") and trial.leads for trial in outcome.trials)


def test_convolutions_of_statistics_stay_in_float_and_others_of_rewrites_do_not() -> None:
    def latency_ms(choice: Choice) -> float:
        gains = 3 * len({"norm", "resize"}.intersection(choice.rewrites))
        return 10.0 - gains - 2 * (choice.method == "plan")

    outcome = search(FakeLaboratory(latency_ms))
    assert {"norm", "resize"} <= set(outcome.choice.rewrites)
    assert outcome.choice.method == "plan"
    assert "mean" in outcome.choice.float_nodes
    assert "small" not in outcome.choice.float_nodes


@pytest.mark.parametrize(
    ("finding", "reason"),
    [
        (replace(GOOD, dice_drop=0.03), "pooled Dice falls by 0.0300 on 4 images, allowed is"),
        (replace(GOOD, artifact_bytes=101), "more than the 0 kB of the plain export"),
        (replace(GOOD, peak_rss_bytes=3_000_000), "3.0 MB of memory"),
        (Finding("OpenVINO does not read it."), "OpenVINO does not read it."),
        (replace(GOOD, dice_drop=float("nan")), "pooled Dice falls by nan"),
    ],
)
def test_what_breaks_a_limit_is_not_even_timed(finding: Finding, reason: str) -> None:
    laboratory = FakeLaboratory(
        lambda choice: 1.0 if choice.precision == "bf16" else 10.0,
        lambda choice: finding if choice.precision == "bf16" else GOOD,
    )
    outcome = search(laboratory)
    assert outcome.choice.precision == "fp32"
    refused = [trial for trial in outcome.trials if trial.choice.precision == "bf16"]
    assert refused
    assert all(reason in trial.objection for trial in refused)
    assert "race bf16" not in laboratory.asked


def test_few_images_reject_the_hopeless_only_and_all_decide() -> None:
    times = {"fp32": 10.0, "bf16": 6.0, "int8": 8.0}
    laboratory = FakeLaboratory(
        lambda choice: times[choice.precision],
        lambda choice: replace(GOOD, dice_drop=0.015 if choice.precision == "bf16" else 0.0),
    )
    laboratory.scores[Choice("bf16")] = replace(GOOD, dice_drop=0.002, images=100)
    assert search(laboratory).choice.precision == "bf16"


def test_agreement_counts_where_it_is_asked_for() -> None:
    laboratory = FakeLaboratory(
        lambda choice: 1.0 if choice.precision == "bf16" else 10.0,
        lambda choice: replace(
            GOOD, dice_drop=None, flips_per_10k=101.0 if choice.precision == "bf16" else 99.0
        ),
    )
    outcome = search(laboratory, limits=Limits(None, 0.99))
    assert outcome.choice.precision == "fp32"
    (refused, *_) = [trial for trial in outcome.trials if trial.objection]
    assert "98.99% of the pixels of 4 images agree" in refused.objection


def test_other_calibrators_are_tried_where_the_masks_are_not_good_enough() -> None:
    menu = replace(MENU, calibrators=("entropy", "mse", "percentile"))

    def finding(choice: Choice) -> Finding:
        drop = 0.03 if choice.method and choice.method != "mse" else 0.001
        return replace(GOOD, dice_drop=drop)

    laboratory = FakeLaboratory(lambda choice: 5.0 if choice.method else 10.0, finding)
    outcome = search(laboratory, menu=menu)
    assert outcome.choice.method == "mse"
    methods = [trial.choice.method for trial in outcome.trials]
    assert "entropy" in methods

    laboratory = FakeLaboratory(lambda choice: 10.0 if choice.method else 5.0)
    methods = [trial.choice.method for trial in search(laboratory, menu=menu).trials]
    assert "entropy" not in methods


@pytest.mark.parametrize(("plan_ms", "is_tried"), [(4.9, True), (5.05, True), (6.0, False)])
def test_where_a_plan_is_as_fast_as_any_its_ranges_are_chosen(
    plan_ms: float, is_tried: bool
) -> None:
    menu = replace(MENU, calibrators=("entropy", "mse", "percentile"))
    flips = {"plan": 10.0, "tool": 12.0, "entropy": 9.0, "mse": 5.0, "percentile": 7.0}

    def latency_ms(choice: Choice) -> float:
        if choice.precision != "int8":
            return 10.0
        return 5.0 if choice.method in ("tool", "mse") else plan_ms

    laboratory = FakeLaboratory(
        latency_ms, lambda choice: replace(GOOD, flips_per_10k=flips.get(choice.method, 0.0))
    )
    outcome = search(laboratory, menu=menu)
    methods = {trial.choice.method for trial in outcome.trials}
    assert set(menu.calibrators).isdisjoint(methods) != is_tried
    if is_tried:
        assert outcome.choice.method == ("percentile" if plan_ms < 5 else "mse")


def test_the_winner_must_keep_the_limits_on_all_images() -> None:
    times = {"fp32": 10.0, "bf16": 6.0, "int8": 8.0}
    laboratory = FakeLaboratory(lambda choice: times[choice.precision])
    laboratory.scores[Choice("bf16")] = replace(GOOD, dice_drop=0.1, images=100)
    outcome = search(laboratory)
    assert outcome.choice.precision != "bf16" or outcome.choice.rewrites
    trials = {trial.choice: trial for trial in outcome.trials}
    assert "on 100 images" in trials[Choice("bf16")].objection


def test_a_single_precision_that_is_faster_after_all_is_taken() -> None:
    class Fickle(FakeLaboratory):
        """Its short races favour FP32; in the long run BF16 is faster."""

        def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
            self.asked.append(f"race {challenger.name}")
            return Ratio(0.9, 0.89, 0.91)

    outcome = search(Fickle(lambda choice: 5.0 if choice == Choice("bf16") else 10.0))
    assert outcome.choice == Choice("bf16")


def test_a_narrow_win_must_be_won_twice() -> None:
    class Lucky(FakeLaboratory):
        """BF16 wins its first race by luck."""

        def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
            self.asked.append(f"race {challenger.name} {attempt}")
            if challenger.precision == "bf16" and attempt == 1:
                return Ratio(1.05, 1.02, 1.08)
            return Ratio(0.99, 0.98, 1.0)

    laboratory = Lucky(lambda choice: 10.0)
    assert search(laboratory).choice.precision == "fp32"
    assert "race bf16 2" in laboratory.asked


def test_ties_keep_the_one_that_leads() -> None:
    laboratory = FakeLaboratory(lambda choice: 10.0 if choice.precision == "fp32" else 9.97)
    assert search(laboratory).choice == Choice("fp32")


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
    plan = Choice("int8", method="plan")
    laboratory = FakeLaboratory(
        lambda choice: {"tool": 10.0, "plan": latency_ms}.get(choice.method, 20.0),
        lambda choice: replace(GOOD, flips_per_10k=flips if choice.method == "plan" else 10.0),
    )
    outcome = search(laboratory)
    (trial,) = (trial for trial in outcome.trials if trial.choice == plan)
    assert trial.leads == leads
    assert (outcome.choice.method == "plan") == leads


def test_ties_do_not_add_up_to_a_slower_one() -> None:
    """Each convolution in float costs 0.15 % and takes a quarter of the flips away."""

    def latency_ms(choice: Choice) -> float:
        if choice.method != "plan" or choice.rewrites:
            return 10.0
        return 5.0 * 1.0015 ** len(choice.float_nodes)

    def finding(choice: Choice) -> Finding:
        return replace(GOOD, flips_per_10k=100 * 0.75 ** len(choice.float_nodes))

    sites = [Site(f"conv{index}", (64 >> index // 2, 64), 100) for index in range(24)]
    laboratory = FakeLaboratory(latency_ms, finding)
    laboratory.sites = lambda rewrites: sites  # type: ignore[method-assign]
    outcome = search(laboratory)
    assert outcome.choice.float_nodes
    times = [latency_ms(trial.choice) for trial in outcome.trials]
    assert latency_ms(outcome.choice) <= 1.01 * min(times)


def test_one_pixel_fewer_is_no_reason() -> None:
    flips = {"fp32": 0.1, "bf16": 0.01, "int8": 5.0}
    laboratory = FakeLaboratory(
        lambda choice: 10.0 if choice.precision != "int8" else 20.0,
        lambda choice: replace(GOOD, flips_per_10k=flips[choice.precision]),
    )
    assert search(laboratory).choice.precision == "fp32"


def test_the_last_run_leaves_the_nearer_of_two_as_fast() -> None:
    class Steady(FakeLaboratory):
        """Tells 0.4 % apart in the last run."""

        def line_up(self, choices: Sequence[Choice]) -> list[Finish]:
            found = super().line_up(choices)
            ratios = [one.over_first for one in found]
            return [
                Finish(one.over_plain, Ratio(r.speedup, r.speedup * 0.999, r.speedup * 1.001))
                for one, r in zip(found, ratios, strict=True)
            ]

    for flips, method in ((3.0, "plan"), (10.0, "tool")):
        laboratory = Steady(
            lambda choice: {"tool": 10.0, "plan": 10.04}.get(choice.method, 20.0),
            lambda choice, flips=flips: replace(  # type: ignore[misc]
                GOOD, flips_per_10k=flips if choice.method == "plan" else 10.0
            ),
        )
        assert search(laboratory).choice.method == method


def test_ranges_are_chosen_where_int8_leads_late() -> None:
    """INT8 pays on the plain graph only."""
    menu = replace(MENU, calibrators=("mse",))

    def latency_ms(choice: Choice) -> float:
        return 5.0 if choice.method in ("plan", "mse") and not choice.rewrites else 10.0

    laboratory = FakeLaboratory(
        latency_ms,
        lambda choice: replace(GOOD, flips_per_10k=5.0 if choice.method == "mse" else 10.0),
    )
    assert search(laboratory, menu=menu).choice.method == "mse"


def test_other_ranges_keep_what_leads() -> None:
    """One that is faster by less than a percent did not lead; ranges are chosen for the leader."""
    menu = replace(MENU, calibrators=("mse",))

    def latency_ms(choice: Choice) -> float:
        if choice.method not in ("plan", "mse"):
            return 10.0
        return 4.97 if choice.runtime else 5.0

    def finding(choice: Choice) -> Finding:
        flips = 20.0 if choice.runtime else 10.0
        return replace(GOOD, flips_per_10k=flips / 2 if choice.method == "mse" else flips)

    outcome = search(FakeLaboratory(latency_ms, finding), menu=menu)
    assert outcome.choice.method == "mse"
    assert not outcome.choice.runtime


def test_statistics_go_to_int8_where_the_rest_is_too_large() -> None:
    def finding(choice: Choice) -> Finding:
        return replace(GOOD, artifact_bytes=200 if choice.float_nodes else 100)

    def latency_ms(choice: Choice) -> float:
        return 10.0 - 3 * ("norm" in choice.rewrites) - 2 * (choice.method == "plan")

    menu = replace(MENU, fixed=(Choice("fp32", ("norm",)), *FIXED[1:]))
    choice = search(FakeLaboratory(latency_ms, finding), menu=menu).choice
    assert choice == Choice("int8", ("norm",), method="plan")


def test_statistics_with_most_weights_go_to_int8_until_it_fits() -> None:
    """Of three convolutions that a rewrite makes, one is too many in float."""
    sites = [Site("made0", (8, 8), weights=5), Site("made1", (8, 8), weights=9)]
    sites.append(Site("made2", (8, 8), weights=2))

    class Laboratory(FakeLaboratory):
        def sites(self, rewrites: Sequence[str]) -> list[Site]:
            return [*SITES, *(sites if "norm" in rewrites else [])]

    def finding(choice: Choice) -> Finding:
        weights = sum(site.weights for site in sites if site.name in choice.float_nodes)
        flips = 9.0 if "made0" not in choice.float_nodes else 1.0
        return replace(GOOD, artifact_bytes=75 + 3 * weights, flips_per_10k=flips)

    def latency_ms(choice: Choice) -> float:
        return 10.0 - 3 * ("norm" in choice.rewrites) - 2 * (choice.method == "plan")

    menu = replace(MENU, fixed=(Choice("fp32", ("norm",)), *FIXED[1:]))
    choice = search(Laboratory(latency_ms, finding), menu=menu).choice
    assert choice == Choice("int8", ("norm",), method="plan", float_nodes=("made0", "made2"))


def test_uncertain_race_is_no_tie() -> None:
    class Noisy(FakeLaboratory):
        def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
            ratio = super().race(challenger, incumbent, attempt)
            return ratio if incumbent is None else Ratio(ratio.speedup, 0.9, 1.2)

    laboratory = Noisy(
        lambda choice: 10.0,
        lambda choice: replace(GOOD, flips_per_10k=1.0 if choice.method == "plan" else 10.0),
    )
    assert not any(trial.leads for trial in search(laboratory).trials[1:])


def test_a_graph_that_gets_too_large_loses_its_largest_rewrites_first() -> None:
    def finding(choice: Choice) -> Finding:
        return replace(GOOD, artifact_bytes=150 if "resize" in choice.rewrites else 90)

    gains = {"fold": 0.9, "norm": 0.9, "resize": 0.1}
    menu = replace(MENU, fixed=(Choice("fp32", MENU.rewrites), *FIXED[1:]))
    laboratory = FakeLaboratory(by_rewrites(gains), finding)  # type: ignore[arg-type]
    outcome = search(laboratory, budget_s=20, menu=menu)
    assert outcome.choice == Choice("fp32", ("fold", "norm"))
    assert [trial.stage for trial in outcome.trials[:3]] == ["float"] * 3


def test_a_budget_leaves_out_what_need_not_be_known() -> None:
    laboratory = FakeLaboratory(lambda choice: 10.0 - len(choice.rewrites))
    outcome = search(laboratory, budget_s=0)
    assert outcome.skipped > 0
    tried = {trial.choice for trial in outcome.trials}
    assert tried >= set(FIXED)
    assert {trial.stage for trial in outcome.trials} == {"float", "precision", "int8"}


def test_without_time_no_graph_is_lowered_either() -> None:
    class Counting(FakeLaboratory):
        def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
            self.asked.append("effective")
            return super().effective(rewrites)

    laboratory = Counting(lambda choice: 10.0 - len(choice.rewrites))
    search(laboratory, budget_s=0)
    assert "effective" not in laboratory.asked


def test_a_race_that_fails_is_a_refusal() -> None:
    class Failing(FakeLaboratory):
        def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
            if challenger.precision == "bf16":
                raise BenchmarkError("The process ended with signal SIGKILL.")
            return super().race(challenger, incumbent, attempt)

    outcome = search(Failing(lambda choice: 10.0))
    refused = [trial for trial in outcome.trials if trial.choice == Choice("bf16")]
    assert refused[0].objection == "The process ended with signal SIGKILL."


def test_where_all_is_too_large_the_smallest_of_full_precision_is_taken() -> None:
    def finding(choice: Choice) -> Finding:
        return replace(GOOD, artifact_bytes=200 + len(choice.rewrites))

    outcome = search(FakeLaboratory(lambda choice: 10.0, finding))
    assert outcome.choice == Choice("fp32")
    assert "more than" in outcome.objection
    (first, *_) = outcome.final
    assert first[0] == Choice("fp32")


def test_nothing_to_choose_names_the_reasons() -> None:
    laboratory = FakeLaboratory(lambda choice: 10.0, lambda choice: Finding("No such operator."))
    with pytest.raises(TargetError, match=r"fp32: No such operator\..*or name a --precision"):
        search(laboratory)
