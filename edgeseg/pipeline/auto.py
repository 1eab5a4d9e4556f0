"""`--precision auto`: what a runtime offers, tried out on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.workers.cpu import read_cpu
from edgeseg.quantize import quick_calibrators, usual_methods
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import Runtime
from edgeseg.targets.devices import Device

from ..bundle.bundle import open_bundle
from ..bundle.manifest import ConstraintsRecord, FinalRecord, TrialRecord, TuningRecord
from ..bundle.older_manifests import upgraded_tuning
from ..errors import TargetError, UsageError, reason_of
from ..lower.rewrites import rewrite_names, statistics_rewrites
from ..progress import Progress, Stage
from ..storage import cache
from ..storage.reading import read_json
from ..tuning.candidate import Candidate
from ..tuning.constraints import Constraints, choose_constraints
from ..tuning.evaluator import CachedEvaluator, Evaluator
from ..tuning.leaderboard import Trial
from ..tuning.search import Search, TuningResult
from ..tuning.space import SearchSpace
from ..tuning.timing_cache import TimingCache
from .builder.baselines import PLAIN
from .builder.builder import Builder
from .builder.context import BuildContext
from .evaluator.contest import THREADS
from .evaluator.local_evaluator import LocalEvaluator
from .evaluator.validation import ValidationSet


def require_measurable(device: Device, runtime: Runtime) -> None:
    """Refuse a runtime whose speed on the device cannot be told here.

    Raises:
        TargetError: Its artefacts are computed by a fallback runtime here, or the device is none
            like this machine.
    """
    if not device.is_measured:
        raise TargetError(
            f"--precision auto measures candidates, and this machine cannot tell what is fastest "
            f"for {device.name} ({device.title}). Name a precision: "
            f"{', '.join(runtime.precisions)}."
        )
    fallback = runtime.fallback_runtime()
    if fallback:
        raise TargetError(
            f"--precision auto measures candidates, and {runtime.name} does not run on this "
            f"machine (artefacts are checked by {fallback}). Name a precision: "
            f"{', '.join(runtime.precisions)}; or build on the device with edgeseg installed there."
        )


def tune(context: BuildContext, builder: Builder, progress: Progress) -> TuningRecord:
    """Find the fastest form of a network that keeps what it finds; what was measured before, also
    by a search that was killed, is not measured again.

    Args:
        builder: Makes the candidates; its stages are shown within that of the search.

    Raises:
        TargetError: The runtime does not run here, or no candidate can be chosen.
    """
    require_measurable(context.device, context.runtime)
    fixed = fixed_candidates(context)
    context.require_packages(fixed)
    with temporary_folder("place") as name:
        validation = ValidationSet(context, Path(name), progress)
        request = context.request
        constraints = choose_constraints(
            request.max_change,
            request.min_agreement,
            len(context.spec.outputs.classes),
            has_labels=validation.has_labels,
        )
        # Made before the search, so that its bar shows the time of the search alone.
        _ = context.references, context.exported, validation.reference_labels
        identity = {**context.identity(), "calibration": list(context.calibration.digests)}
        cpu, flags = read_cpu()
        machine = {"cpu": cpu, "cpu_flags": flags, "threads": THREADS}
        asked = {
            "identity": {**identity, **context.model.cache_identity()},
            "machine": machine,
            "validation": validation.identity(),
        }
        timing_cache = TimingCache(
            cache.cache_root() / "tuning" / cache.content_key(asked),
            enabled=context.request.use_cache,
        )
        with LocalEvaluator(context, builder, validation, Path(name)) as bench:
            evaluator = CachedEvaluator(bench, timing_cache)
            budget_s = context.request.search_seconds
            with progress.stage("search for the fastest form", total=budget_s) as stage:
                search = Search(
                    search_space(context, fixed, evaluator),
                    evaluator,
                    constraints,
                    budget_s,
                    lambda: timing_cache.seconds,
                    _Reporter(stage, timing_cache).tell,
                )
                outcome = search.run()
    images = {
        "folder": validation.dataset.root.name,
        "splits": list(validation.dataset.splits),
        "search": validation.screening_count,
        "final": len(validation.dataset),
        "labelled": validation.has_labels,
    }
    return _record(outcome, identity, machine, constraints, images, timing_cache.seconds)


def read_tuning_record(path: Path) -> TuningRecord:
    """The record of a bundle, or of a JSON file that holds one.

    Raises:
        BundleError: A folder that is no bundle.
        UsageError: There is none.
    """
    if path.is_dir():
        found = open_bundle(path).manifest.tuning
        if found is None:
            raise UsageError(
                f"The bundle {path} was not built with --precision auto, so it says nothing of "
                "tuning. Name one that was."
            )
        return found
    try:
        record = read_json(path)
        return TuningRecord.model_validate(upgraded_tuning(record))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or reason_of(error)
        raise UsageError(
            f"{path} holds no tuning ({reason}). Name a bundle that was built with --precision "
            "auto, or a file with the 'tuning' of its manifest."
        ) from error


def require_same_build(context: BuildContext, tuning: TuningRecord, path: Path) -> None:
    """Refuse a tuning of another network, device or runtime.

    Raises:
        UsageError: Names what differs.
    """
    calibration = list(context.calibration.digests)
    ours = {**context.identity(), "calibration": calibration}
    for name, value in json.loads(json.dumps(ours)).items():
        if tuning.identity.get(name) != value:
            raise UsageError(
                f"The tuning in {path} is for another {TITLES.get(name, name)}. Build with the "
                "same --model, --weights, --target, --runtime, --option, --size, --data and "
                "--calibration-images, or search anew with --precision auto."
            )


TITLES = {"weights": "set of weights", "options": "set of runtime options", "shipped": "checkpoint"}


def fixed_candidates(context: BuildContext) -> tuple[Candidate, ...]:
    """What is built for each precision that runs here, that of full precision first."""
    runtime = context.runtime
    names = [name for name in runtime.precisions if runtime.refusal(name) is None]
    quantized = runtime.quantized_precisions
    request = context.request
    chosen = []
    for name in names:
        if name in quantized:
            chosen.append(context.fixed_candidate(name))
        else:
            chosen.append(Candidate(name, tuple(runtime.rewrites.get(name, ()))))
    if (request.method or request.method_options) and not any(one.method for one in chosen):
        raise UsageError(
            f"Runtime {runtime.name} has no quantised precision here. Leave --method out."
        )
    return tuple(chosen)


def search_space(
    context: BuildContext, fixed: Sequence[Candidate], evaluator: Evaluator
) -> SearchSpace:
    """The fixed candidates of a build, and everything that the search may combine."""
    runtime = context.runtime
    return SearchSpace(
        # A rewrite that finds nothing to do makes the same graph.
        fixed=tuple(
            replace(candidate, rewrites=evaluator.effective(candidate.rewrites))
            for candidate in fixed
        ),
        rewrites=rewrite_names(),
        methods=tuple(_methods(context)),
        variants={
            precision: tuple(runtime.runtime_variants(precision))
            for precision in runtime.precisions
        },
        statistics=statistics_rewrites(),
        calibrators=_other_calibrators(context),
    )


def _methods(context: BuildContext) -> list[tuple[str, tuple[tuple[str, str], ...], bool]]:
    """The one that was asked for; else the vendor quantiser and the usual calibrator."""
    request = context.request
    options = tuple(sorted(request.method_options.items()))
    if request.method is not None or options:
        spec = context.quantization(request.method, request.method_options)
        return [(spec.name, options, spec.makes_plan)]
    formats = context.runtime.quantized_from
    return [(name, (), makes_plan) for name, makes_plan in usual_methods(formats).items()]


def _other_calibrators(context: BuildContext) -> tuple[str, ...]:
    """Those that take no longer than the usual one; none where something was asked for."""
    request = context.request
    if request.method is not None or request.method_options:
        return ()
    return quick_calibrators(context.runtime.quantized_from)


class _Reporter:
    """Shows each trial as it comes."""

    def __init__(self, stage: Stage, timing_cache: TimingCache) -> None:
        self.stage = stage
        self.timing_cache = timing_cache
        self.shown = 0.0

    def tell(self, trial: Trial) -> None:
        speed = f"{trial.over_plain:.2f}x" if trial.over_plain is not None else "refused"
        self.stage.note(f"{trial.candidate.name}: {speed}{', leads' if trial.leads else ''}")
        self.stage.advance(self.timing_cache.seconds - self.shown)
        self.shown = self.timing_cache.seconds


def _record(
    outcome: TuningResult,
    identity: dict[str, Any],
    machine: dict[str, Any],
    constraints: Constraints,
    images: dict[str, Any],
    seconds: float,
) -> TuningRecord:
    plain = outcome.plain
    return TuningRecord(
        candidate=outcome.candidate.to_json(),
        identity=identity,
        machine=machine,
        constraints=ConstraintsRecord(**constraints.to_json()),
        images=images,
        plain={
            "artifact_bytes": plain.artifact_bytes,
            "peak_rss_bytes": plain.peak_rss_bytes,
        },
        flips_per_10k=outcome.score.flips_per_10k,
        changes=dict(outcome.score.changes),
        violation=outcome.violation,
        trials=tuple(_trial_record(trial) for trial in outcome.trials),
        final=tuple(
            FinalRecord(
                name=candidate.name,
                candidate=candidate.to_json(),
                speedup_over_plain=timing.over_plain.speedup,
                speedup_over_plain_ci95=timing.over_plain.interval,
                speedup_over_first=timing.over_first.speedup,
                speedup_over_first_ci95=timing.over_first.interval,
            )
            for candidate, timing in outcome.final
        ),
        skipped=outcome.skipped,
        search_seconds=seconds,
    )


def _trial_record(trial: Trial) -> TrialRecord:
    evaluation, ratio = trial.evaluation, trial.ratio
    was_made = not evaluation.refusal
    verdict = "refused" if trial.violation else "leads" if trial.leads else "slower"
    return TrialRecord(
        name=trial.candidate.name,
        stage=trial.stage,
        region=trial.region,
        candidate=trial.candidate.to_json(),
        verdict=verdict,
        reason=trial.violation,
        against=trial.against.name if trial.against is not None else PLAIN,
        speedup=ratio.speedup if ratio else None,
        speedup_ci95=ratio.interval if ratio else None,
        speedup_over_plain=trial.over_plain,
        flips_per_10k=evaluation.flips_per_10k if was_made else None,
        changes=dict(evaluation.changes),
        artifact_bytes=evaluation.artifact_bytes if was_made else None,
        peak_rss_bytes=evaluation.peak_rss_bytes if was_made else None,
        layers=dict(evaluation.layers),
    )
