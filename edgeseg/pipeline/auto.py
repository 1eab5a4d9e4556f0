"""`--precision auto`: what a target offers, tried out on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.cpu import read_cpu
from edgeseg.quantize import DEFAULT_CALIBRATOR, EMITTERS, METHODS, Quantizer, find_method
from edgeseg.quantize.calibrators.range_calibrator import RangeCalibrator
from edgeseg.targets import Target

from ..bundle.bundle import open_bundle
from ..errors import TargetError, UsageError
from ..lazy import require_installed
from ..lower.rewrites import REWRITES, STATISTICS
from ..metrics.hausdorff import PACKAGES as DISTANCE_PACKAGES
from ..metrics.hausdorff import can_measure_distances
from ..progress import Progress, Stage
from ..storage import cache
from ..tuning.candidate import Choice
from ..tuning.constraints import DEFAULT_AGREEMENT, DEFAULT_DICE_DROP, DEFAULT_HD95_GROWTH, Limits
from ..tuning.evaluator import Laboratory, RememberingLaboratory
from ..tuning.leaderboard import Trial
from ..tuning.record import FinalRecord, PlacementRecord, TrialRecord
from ..tuning.search import Outcome, Search
from ..tuning.space import Menu
from ..tuning.timing_cache import Journal
from .bench import PLAIN
from .builder.builder import Workshop
from .builder.context import Preparation
from .evaluator.local_evaluator import THREADS, BenchLaboratory
from .evaluator.validation import Judges

AUTO = "auto"


def require_measurable(target: Target) -> None:
    """Refuse a target that does not run on this machine.

    Raises:
        TargetError: It has a stand-in.
    """
    stand_in = target.stand_in()
    if stand_in:
        raise TargetError(
            f"--precision auto measures candidates, and target {target.name} does not run on this "
            f"machine ({stand_in} stands in for it). Name a precision: "
            f"{', '.join(target.precisions)}; or build on the device with edgeseg installed there."
        )


def place(preparation: Preparation, workshop: Workshop, progress: Progress) -> PlacementRecord:
    """Find the fastest form of a network that keeps what it finds; what was measured before, also
    by a search that was killed, is not measured again.

    Args:
        workshop: Makes the candidates. It must be silent: they are made while the search shows its
            progress.

    Raises:
        TargetError: The target does not run here, or no candidate can be chosen.
    """
    require_measurable(preparation.target)
    fixed = fixed_choices(preparation)
    preparation.require_packages(fixed)
    with tempfile.TemporaryDirectory(prefix="edgeseg-place-") as name:
        judges = Judges(preparation, Path(name), progress)
        limits = choose_limits(preparation, has_labels=judges.has_labels)
        # Each shows its own progress, which cannot be done within that of the search.
        _ = preparation.references, preparation.exported, judges.float_labels
        identity = {**preparation.identity(), "calibration": list(preparation.calibration.digests)}
        cpu, flags = read_cpu()
        machine = {"cpu": cpu, "cpu_flags": flags, "threads": THREADS}
        asked = {"identity": identity, "machine": machine, "judges": judges.identity()}
        journal = Journal(
            cache.cache_root() / "placements" / cache.content_key(asked),
            enabled=preparation.request.use_cache,
        )
        with BenchLaboratory(preparation, workshop, judges, Path(name)) as bench:
            laboratory = RememberingLaboratory(bench, journal)
            budget_s = preparation.request.search_seconds
            with progress.stage("place", total=budget_s) as stage:
                search = Search(
                    _menu(preparation, fixed, laboratory),
                    laboratory,
                    limits,
                    budget_s,
                    lambda: journal.seconds,
                    _Reporter(stage, journal).tell,
                )
                outcome = search.run()
    images = {
        "folder": judges.dataset.root.name,
        "splits": list(judges.dataset.splits),
        "search": judges.few,
        "final": len(judges.dataset),
        "labelled": judges.has_labels,
    }
    return _record(outcome, identity, machine, limits, images, journal.seconds)


def read_placement(path: Path) -> PlacementRecord:
    """The record of a bundle, or of a JSON file that holds one.

    Raises:
        BundleError: A folder that is no bundle.
        UsageError: There is none.
    """
    if path.is_dir():
        found = open_bundle(path).manifest.placement
        if found is None:
            raise UsageError(
                f"The bundle {path} was not built with --precision auto, so it says nothing of "
                "placement. Name one that was."
            )
        return found
    try:
        return PlacementRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"{path} holds no placement: {reason}. Name a bundle that was built with --precision "
            "auto, or a file with the 'placement' of its manifest."
        ) from error


def require_same_work(preparation: Preparation, placement: PlacementRecord, path: Path) -> None:
    """Refuse a placement of another network or target.

    Raises:
        UsageError: Names what differs.
    """
    calibration = list(preparation.calibration.digests)
    ours = {**preparation.identity(), "calibration": calibration}
    for name, value in json.loads(json.dumps(ours)).items():
        if placement.identity.get(name) != value:
            raise UsageError(
                f"The placement in {path} is for another {TITLES.get(name, name)}. Build with the "
                "same --model, --weights, --target, --option, --size, --data and "
                "--calibration-images, or search anew with --precision auto."
            )


TITLES = {"weights": "set of weights", "options": "set of target options", "shipped": "checkpoint"}


def fixed_choices(preparation: Preparation) -> tuple[Choice, ...]:
    """What is built for each precision that runs here, that of full precision first."""
    target = preparation.target
    names = [name for name in target.precisions if target.refusal(name) is None]
    quantized = target.quantized_precisions
    request = preparation.request
    chosen = []
    for name in names:
        if name in quantized:
            chosen.append(preparation.fixed_choice(name))
        else:
            chosen.append(Choice(name, tuple(target.rewrites.get(name, ()))))
    if (request.method or request.method_options) and not any(one.method for one in chosen):
        raise UsageError(
            f"Target {target.name} has no quantised precision here. Leave --method out."
        )
    return tuple(chosen)


def choose_limits(preparation: Preparation, *, has_labels: bool) -> Limits:
    """What was asked for; without labels it is agreement that counts."""
    request = preparation.request
    for option, asked in (
        ("--max-dice-drop", request.max_dice_drop),
        ("--max-hd95-growth", request.max_hd95_growth),
    ):
        if not has_labels and asked is not None:
            raise UsageError(
                f"{option} needs masks of the val images, and there are none. Add them to "
                "--data, or use --min-agreement."
            )
    if request.max_hd95_growth is not None:
        require_installed(DISTANCE_PACKAGES, purpose="--max-hd95-growth")
    drop = request.max_dice_drop if request.max_dice_drop is not None else DEFAULT_DICE_DROP
    growth = request.max_hd95_growth
    growth = growth if growth is not None else DEFAULT_HD95_GROWTH
    agreement = request.min_agreement
    if agreement is None and not has_labels:
        agreement = DEFAULT_AGREEMENT
    if not has_labels:
        return Limits(None, agreement)
    return Limits(drop, agreement, growth if can_measure_distances() else None)


def _menu(preparation: Preparation, fixed: Sequence[Choice], laboratory: Laboratory) -> Menu:
    target = preparation.target
    return Menu(
        # A rewrite that finds nothing to do makes the same graph.
        fixed=tuple(
            replace(choice, rewrites=laboratory.effective(choice.rewrites)) for choice in fixed
        ),
        rewrites=tuple(REWRITES),
        methods=tuple(_methods(preparation)),
        variants={
            precision: tuple(target.runtime_variants(precision)) for precision in target.precisions
        },
        statistics=STATISTICS,
        calibrators=_other_calibrators(preparation),
    )


def _methods(preparation: Preparation) -> list[tuple[str, tuple[tuple[str, str], ...], bool]]:
    """The one that was asked for; else the target's own tool and the usual calibrator."""
    request, formats = preparation.request, preparation.target.quantized_from
    options = tuple(sorted(request.method_options.items()))
    if request.method is not None or options:
        method = find_method(request.method, formats, request.method_options)
        return [(method.name, options, not isinstance(method, Quantizer))]
    found: list[tuple[str, tuple[tuple[str, str], ...], bool]] = []
    emits = any(name in EMITTERS.names() for name in formats)
    for name in METHODS.names():
        kind = METHODS.find(name)
        has_plan = not issubclass(kind, Quantizer)
        if has_plan:
            is_offered = emits and name == DEFAULT_CALIBRATOR
        else:
            is_offered = kind.artifact_format in formats
        if is_offered:
            found.append((name, (), has_plan))
    return found


def _other_calibrators(preparation: Preparation) -> tuple[str, ...]:
    """Those that take no longer than the usual one; none where something was asked for."""
    request, formats = preparation.request, preparation.target.quantized_from
    is_asked_for = request.method is not None or request.method_options
    if is_asked_for or not any(name in EMITTERS.names() for name in formats):
        return ()
    quick = [name for name in METHODS.names() if issubclass(METHODS.find(name), RangeCalibrator)]
    return tuple(name for name in quick if name != DEFAULT_CALIBRATOR)


class _Reporter:
    """Shows each trial as it comes."""

    def __init__(self, stage: Stage, journal: Journal) -> None:
        self.stage = stage
        self.journal = journal
        self.shown = 0.0

    def tell(self, trial: Trial) -> None:
        speed = f"{trial.over_plain:.2f}x" if trial.over_plain is not None else "refused"
        self.stage.note(f"{trial.choice.name}: {speed}{', leads' if trial.leads else ''}")
        self.stage.advance(self.journal.seconds - self.shown)
        self.shown = self.journal.seconds


def _record(
    outcome: Outcome,
    identity: dict[str, Any],
    machine: dict[str, Any],
    limits: Limits,
    images: dict[str, Any],
    seconds: float,
) -> PlacementRecord:
    plain = outcome.plain
    return PlacementRecord(
        choice=outcome.choice.to_json(),
        identity=identity,
        machine=machine,
        limits=limits.to_json(),
        images=images,
        plain={
            "artifact_bytes": plain.artifact_bytes,
            "peak_rss_bytes": plain.peak_rss_bytes,
        },
        flips_per_10k=outcome.score.flips_per_10k,
        dice_drop=outcome.score.dice_drop,
        hd95_growth=outcome.score.hd95_growth,
        objection=outcome.objection,
        trials=tuple(_trial_record(trial) for trial in outcome.trials),
        final=tuple(
            FinalRecord(
                name=choice.name,
                choice=choice.to_json(),
                speedup_over_plain=finish.over_plain.speedup,
                speedup_over_plain_ci95=finish.over_plain.interval,
                speedup_over_first=finish.over_first.speedup,
                speedup_over_first_ci95=finish.over_first.interval,
            )
            for choice, finish in outcome.final
        ),
        skipped=outcome.skipped,
        search_seconds=seconds,
    )


def _trial_record(trial: Trial) -> TrialRecord:
    finding, ratio = trial.finding, trial.ratio
    was_made = not finding.refusal
    verdict = "refused" if trial.objection else "leads" if trial.leads else "slower"
    return TrialRecord(
        name=trial.choice.name,
        stage=trial.stage,
        region=trial.region,
        choice=trial.choice.to_json(),
        verdict=verdict,
        reason=trial.objection,
        against=trial.against.name if trial.against is not None else PLAIN,
        speedup=ratio.speedup if ratio else None,
        speedup_ci95=ratio.interval if ratio else None,
        speedup_over_plain=trial.over_plain,
        flips_per_10k=finding.flips_per_10k if was_made else None,
        dice_drop=finding.dice_drop if was_made else None,
        artifact_bytes=finding.artifact_bytes if was_made else None,
        peak_rss_bytes=finding.peak_rss_bytes if was_made else None,
        layers=dict(finding.layers),
    )
