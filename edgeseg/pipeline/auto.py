"""`--precision auto`: what a runtime offers, tried out on this machine or on a device."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
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
from ..lazy import installed_version
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
from .measuring.device_evaluator import DeviceEvaluator
from .measuring.device_link import link_to, tried_of


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
        has_masks = link is not None and link.device.has_masks
        outcome = _search(context, fixed, evaluator, constraints, timing_cache, progress)
    where = "" if request.device is None else request.device.device
    seconds = timing_cache.seconds
    images = _images_of(validation)
    if link is not None:
        images["masks_of"] = "device" if has_masks else "this machine"
    return _record(outcome, identity, machine, where, constraints, images, seconds)


def _search(
    context: BuildContext,
    fixed: Sequence[Candidate],
    evaluator: Evaluator,
    constraints: Constraints,
    timing_cache: TimingCache,
    progress: Progress,
) -> TuningResult:
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
        return search.run()


def _images_of(validation: ValidationSet) -> dict[str, Any]:
    return {
        "folder": validation.dataset.root.name,
        "splits": list(validation.dataset.splits),
        "search": validation.screening_count,
        "final": len(validation.dataset),
        "labelled": validation.has_labels,
    }


def machine_here(runtime: Runtime) -> dict[str, Any]:
    """What a measurement on this machine depends on."""
    cpu, flags = read_cpu()
    versions = {name: installed_version(name) for name in runtime.run_packages}
    return {"cpu": cpu, "cpu_flags": flags, "threads": THREADS, "versions": versions}


def warn_unlike(tuning: TuningRecord, machine: Mapping[str, Any], where: str) -> str:
    """What a machine has otherwise than the one that a tuning was measured on; empty where
    nothing that is known of both differs.

    Args:
        where: Names the machine.
    """
    known = tuning.machine
    names = [name for name in LIKENESS if name in known and name in machine]
    differing = [
        f"{LIKENESS[name]} {_shown(known[name])} there and {_shown(machine[name])} on {where}"
        for name in names
        if known[name] != machine[name] and not _agrees(known[name], machine[name])
    ]
    if not differing:
        return ""
    measured = tuning.measured_on or "another machine"
    return (
        f"Warning: the tuning was measured on {measured}, which differs: {'; '.join(differing)}. "
        "What is fastest there need not be here; search anew with --precision auto without "
        "--tuning, and with --device for a device."
    )


LIKENESS = {"cpu": "CPU", "cpu_flags": "instruction sets", "versions": "versions"}


def _agrees(known: Any, found: Any) -> bool:
    """Whether versions that both name are the same."""
    if not isinstance(known, Mapping) or not isinstance(found, Mapping):
        return False
    return all(known[name] == found[name] for name in known.keys() & found.keys())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items()) or "none"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


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
    measured_on: str,
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
        measured_on=measured_on,
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
