"""`--precision auto`: what a runtime offers, tried out on this machine or on a device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from edgeseg.benchmarks.workers.cpu import read_cpu
from edgeseg.quantize import quick_calibrators, usual_methods
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import Runtime
from edgeseg.targets.devices import Device

from ..bundle.manifest import (
    ConstraintsRecord,
    FinalRecord,
    LimitsRecord,
    TrialRecord,
    TuningRecord,
)
from ..errors import TargetError, UsageError
from ..lazy import installed_version
from ..lower.rewrites import rewrite_names, statistics_rewrites
from ..progress import Progress, Stage
from ..storage import cache
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
from .evaluator.verdict import limits_record
from .measuring.device_evaluator import DeviceEvaluator
from .measuring.device_link import DeviceLink, link_to, tried_of


def require_measurable(device: Device, runtime: Runtime, *, on_device: bool = False) -> None:
    """Refuse a runtime whose speed on the device cannot be told.

    Args:
        on_device: Whether a real device is named, which measures.

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
    if fallback and not on_device:
        raise TargetError(
            f"--precision auto measures candidates, and {runtime.name} does not run on this "
            f"machine (artefacts are checked by {fallback}). Name a precision: "
            f"{', '.join(runtime.precisions)}; or name a device with --device."
        )


def tune(
    context: BuildContext,
    builder: Builder,
    progress: Progress,
    device_evaluator: type[DeviceEvaluator] = DeviceEvaluator,
) -> TuningRecord:
    """Find the fastest form of a network that keeps what it finds; what was measured before, also
    by a search that was killed, is not measured again.

    Args:
        builder: Makes the candidates; its stages are shown within that of the search.
        device_evaluator: What answers on a device.

    Raises:
        TargetError: The runtime does not run here, or no candidate can be chosen.
    """
    request = context.request
    require_measurable(context.device, context.runtime, on_device=request.device is not None)
    fixed = fixed_candidates(context)
    context.require_packages(fixed)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("place"))
        link = None
        if request.device is not None:
            link = stack.enter_context(link_to(request.device, tried_of(context), progress))
        validation = ValidationSet(context, folder, progress)
        constraints = choose_constraints(
            request.max_change,
            request.min_agreement,
            len(context.spec.outputs.classes),
            has_labels=validation.has_labels,
            accept_uncertain=request.accept_uncertain,
        )
        # Made before the search, so that its bar shows the time of the search alone.
        _ = context.references, context.exported, validation.reference_labels
        identity = {**context.identity(), "calibration": list(context.calibration.digests)}
        machine = link.fingerprint if link is not None else machine_here(context.runtime)
        asked = {
            "identity": {**identity, **context.model.cache_identity()},
            "machine": machine,
            "validation": validation.identity(),
        }
        timing_cache = TimingCache(
            cache.cache_root() / "tuning" / cache.content_key(asked),
            time.monotonic if link is None else lambda: link.busy_s,
            enabled=context.request.use_cache,
        )
        contest = stack.enter_context(
            LocalEvaluator(context, builder, validation, folder)
            if link is None
            else device_evaluator(context, builder, validation, folder, link)
        )
        evaluator = CachedEvaluator(contest, timing_cache)
        images = _images_of(validation, link)
        space = search_space(context, fixed, evaluator, machine["cpu_flags"])
        outcome = _search(context, space, evaluator, constraints, timing_cache, progress)
    where = "" if request.device is None else request.device.device
    seconds = timing_cache.seconds
    limits = limits_record(constraints, outcome.score, len(validation.labelled))
    return _record(outcome, identity, machine, where, constraints, limits, images, seconds)


def _search(
    context: BuildContext,
    space: SearchSpace,
    evaluator: Evaluator,
    constraints: Constraints,
    timing_cache: TimingCache,
    progress: Progress,
) -> TuningResult:
    budget_s = context.request.search_seconds
    with progress.stage("search for the fastest form", total=budget_s) as stage:
        search = Search(
            space,
            evaluator,
            constraints,
            budget_s,
            lambda: timing_cache.seconds,
            _Reporter(stage, timing_cache).tell,
        )
        return search.run()


def _images_of(validation: ValidationSet, link: DeviceLink | None) -> dict[str, Any]:
    images = {
        "folder": validation.dataset.root.name,
        "splits": list(validation.dataset.splits),
        "search": validation.screening_count,
        "final": len(validation.dataset),
        "labelled": validation.has_labels,
    }
    if link is not None:
        images["masks_of"] = "device" if link.device.has_masks else "this machine"
    return images


def machine_here(runtime: Runtime) -> dict[str, Any]:
    """What a measurement on this machine depends on."""
    cpu, flags = read_cpu()
    versions = {name: installed_version(name) for name in runtime.run_packages}
    return {"cpu": cpu, "cpu_flags": flags, "threads": THREADS, "versions": versions}


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
    context: BuildContext,
    fixed: Sequence[Candidate],
    evaluator: Evaluator,
    cpu_flags: Collection[str] = (),
) -> SearchSpace:
    """The fixed candidates of a build, and everything that the search may combine.

    Args:
        cpu_flags: Of the CPU that measures.
    """
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
            precision: (
                *runtime.runtime_variants(precision),
                *runtime.half_variants(precision, cpu_flags),
            )
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
    measured_on: str,
    constraints: Constraints,
    limits: LimitsRecord,
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
        limits=limits,
        trials=tuple(
            _trial_record(trial, state)
            for trial, state in zip(outcome.trials, outcome.states, strict=True)
        ),
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
        measured_on=measured_on,
    )


def _trial_record(trial: Trial, state: str) -> TrialRecord:
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
        limits=state,
    )
