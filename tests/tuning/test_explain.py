from __future__ import annotations

from typing import Any

import pytest

from edgeseg.bundle.manifest import FinalRecord, TrialRecord, TuningRecord
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.explain import rows, summary, titles, untaken, verdict

FLOAT = Candidate("fp32", ("fold",))
INT8 = Candidate("int8", method="mse")


def trial(candidate: Candidate, **changes: Any) -> TrialRecord:
    settings: dict[str, Any] = {
        "name": candidate.name,
        "stage": "float",
        "region": "",
        "candidate": candidate.to_json(),
        "verdict": "leads",
        "reason": "",
        "against": "plain",
        "speedup": 1.5,
        "speedup_ci95": (1.4, 1.6),
        "speedup_over_plain": 1.5,
        "flips_per_10k": 2.0,
        "changes": {"dice_pooled": -0.001},
        "artifact_bytes": 1500,
        "peak_rss_bytes": 2_500_000,
        "layers": {},
    }
    return TrialRecord(**{**settings, **changes})


def slower_int8(**changes: Any) -> TrialRecord:
    settings: dict[str, Any] = {
        "stage": "int8",
        "verdict": "slower",
        "against": FLOAT.name,
        "speedup": 0.8,
        "speedup_ci95": (0.7, 0.9),
        "speedup_over_plain": 1.2,
        "layers": {"int8_convolutions": 3, "quantized_activations": 5},
    }
    return trial(INT8, **{**settings, **changes})


def record(*trials: TrialRecord, candidate: Candidate = FLOAT, **changes: Any) -> TuningRecord:
    final = FinalRecord(
        name=candidate.name,
        candidate=candidate.to_json(),
        speedup_over_plain=1.52,
        speedup_over_plain_ci95=(1.5, 1.54),
        speedup_over_first=1.0,
        speedup_over_first_ci95=(1.0, 1.0),
    )
    settings: dict[str, Any] = {
        "candidate": candidate.to_json(),
        "identity": {},
        "machine": {},
        "constraints": {"max_change": {}, "min_agreement": None},
        "images": {"final": 100},
        "plain": {},
        "flips_per_10k": 3.0,
        "changes": {"dice_pooled": -0.0012},
        "violation": "",
        "trials": trials,
        "final": (final,),
        "skipped": 0,
        "search_seconds": 9.0,
    }
    return TuningRecord(**{**settings, **changes})


def test_each_candidate_is_a_row_that_says_why() -> None:
    tuning = record(trial(FLOAT), slower_int8(stage="region", region="region 1 in INT8"))
    leader, slower = (dict(zip(titles(tuning), row, strict=True)) for row in rows(tuning))
    assert leader["verdict"] == "leads: 1.50 (1.40..1.60) times as fast as plain"
    assert (leader["kB"], leader["MB"]) == ("2", "2.5")
    assert leader["pooled Dice change"] == "-0.0010"
    assert slower["candidate"] == "int8 by mse; region 1 in INT8"
    assert slower["verdict"] == (
        "0.80 (0.70..0.90) times as fast as fp32, 1 rewrite (3 INT8 operators bring 5 conversions)"
    )


def test_a_refusal_gives_its_reason_and_no_numbers() -> None:
    speed = dict.fromkeys(("speedup", "speedup_ci95", "speedup_over_plain"))
    costs = dict.fromkeys(("flips_per_10k", "artifact_bytes", "peak_rss_bytes"))
    refused = trial(
        INT8, verdict="refused", reason="it has collapsed", changes={}, **speed, **costs
    )
    _, cells = rows(record(trial(FLOAT), refused))
    assert cells[1:] == ["", "", "", "", "", "", "refused: it has collapsed"]


def test_what_was_left_out_as_uncertain_is_told_with_its_gain() -> None:
    reason = "cannot tell; --accept-uncertain takes it"
    undecided = slower_int8(verdict="refused", reason=reason, limits="open", speedup_over_plain=3.0)
    tuning = record(trial(FLOAT, limits="holds"), undecided)
    _, cells = (dict(zip(titles(tuning), row, strict=True)) for row in rows(tuning))
    assert cells["limits"] == "open"
    assert cells["verdict"] == f"open: {reason}"
    (line,) = untaken(tuning)
    assert line == f"Not taken: int8 by mse, 2.00 times as fast as the chosen form: {reason}."
    assert line in summary(tuning)
    slower = slower_int8(verdict="refused", reason=reason, limits="open", speedup_over_plain=1.0)
    assert untaken(record(trial(FLOAT), slower)) == []
    assert untaken(None) == []


def test_a_small_gain_is_called_too_little() -> None:
    small = trial(INT8, verdict="slower", speedup=1.005, speedup_ci95=(1.001, 1.01))
    assert verdict(small).endswith("which is too little")


def test_it_is_said_plainly_that_int8_is_not_worth_it() -> None:
    text = summary(record(trial(FLOAT), slower_int8()))
    assert text[0] == (
        "Chosen: fp32, 1 rewrite. 1.52 (1.50..1.54) times as fast as the plain export; 3.0 of "
        "10,000 pixels flip, pooled Dice changes by -0.0012 on 100 images."
    )
    assert text[1] == (
        "INT8 is not worth it here: of 1 ways to use it the best, int8 by mse, is 0.80 "
        "(0.70..0.90) times as fast as fp32, 1 rewrite (3 INT8 operators bring 5 conversions)."
    )


@pytest.mark.parametrize(
    ("trials", "candidate", "words"),
    [
        ([], FLOAT, "INT8 was not tried: the runtime has none here."),
        ([trial(INT8)], INT8, "INT8 is worth it here, for all convolutions."),
        (
            [trial(Candidate("int8", method="mse", float_nodes=("a",)))],
            Candidate("int8", method="mse", float_nodes=("a",)),
            "INT8 is worth it here; 1 convolutions stay in float.",
        ),
        (
            [
                slower_int8(
                    verdict="refused",
                    reason="it has collapsed",
                    speedup=None,
                    speedup_over_plain=None,
                )
            ],
            FLOAT,
            "INT8 is not worth it here: int8 by mse was refused, it has collapsed.",
        ),
    ],
)
def test_what_is_said_of_int8(trials: list[TrialRecord], candidate: Candidate, words: str) -> None:
    assert summary(record(*trials, candidate=candidate))[-1] == words


def test_a_choice_that_breaks_a_limit_is_named() -> None:
    text = summary(record(trial(FLOAT), violation="its 2 kB are more than the 1 kB"))
    assert text[1].endswith("the chosen one breaks them: its 2 kB are more than the 1 kB.")


def test_what_was_left_out_is_said() -> None:
    text = summary(record(trial(FLOAT), skipped=7))
    assert text[-1].startswith("7 candidates were left out for want of time. Raise")


def test_what_a_converter_quotes_is_cut_short() -> None:
    refused = trial(INT8, verdict="refused", reason="onnx2tf gives up: " + "0.25 " * 500)
    assert verdict(refused).startswith("refused: onnx2tf gives up: 0.25 ")
    assert verdict(refused).endswith(" ...")
    assert len(verdict(refused)) < 300


def test_one_that_leads_by_its_masks_says_so() -> None:
    level: dict[str, Any] = {"speedup": 1.0, "speedup_ci95": (0.995, 1.005)}
    nearer = trial(INT8, against="fp32", **level)
    assert verdict(nearer).endswith("times as fast as fp32, and fewer pixels flip")
    assert verdict(trial(INT8, **level)).endswith("times as fast as plain")


def test_each_metric_that_was_compared_has_a_column() -> None:
    changes = {"dice_pooled": -0.001, "hd95_px": 0.0123}
    tuning = record(trial(FLOAT, changes=changes), slower_int8(), changes=changes)
    assert titles(tuning)[3:5] == ["pooled Dice change", "HD95 change"]
    assert [row[4] for row in rows(tuning)] == ["+1.23%", ""]
    assert "pooled Dice changes by -0.0010, HD95 changes by +1.23% on 100" in summary(tuning)[0]


def test_a_metric_that_is_not_installed_here_keeps_its_name() -> None:
    tuning = record(trial(FLOAT, changes={"tversky": 0.25}), changes={"tversky": 0.25})
    assert titles(tuning)[3] == "tversky change"
    assert rows(tuning)[0][3] == "+0.25"
    assert "tversky changes by +0.25 on" in summary(tuning)[0]


def test_where_it_was_measured_and_whose_masks_they_are_is_said() -> None:
    settings: dict[str, Any] = {"measured_on": "adb://R58", "machine": {"cpu": "A76"}}
    for whose, end in (
        ("device", "9 s of its time."),
        ("this machine", "as the device's program writes no masks."),
    ):
        images = {"final": 100, "masks_of": whose}
        text = summary(record(trial(FLOAT), images=images, **settings))
        assert text[1].startswith("Measured on adb://R58 (A76), 9 s of its time")
        assert text[1].endswith(end)
