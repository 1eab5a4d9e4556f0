"""Reports of benchmarks that were never run, with any speed and any masks, and of short ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.benchmarks.latency import GROUPS
from edgeseg.benchmarks.report import PROTOCOL_VERSION, Report

IMAGES = 60


def report_of(
    *,
    slower: float = 0.0,
    noise: float = 0.006,
    lost_pixels: int = 0,
    more_flips: float = 0.0,
    seed: int = 0,
    name: str = "net-intel-fp32",
    **changes: Any,
) -> Report:
    """A report with one artefact.

    Args:
        slower: How much longer a run takes, as a share.
        noise: Of a run's ratio, standard deviation of its logarithm.
        lost_pixels: Of the object, in each image.
        more_flips: In 10,000 pixels of each image.
        changes: Of `protocol`, `environment` and `data`, by these names.
    """
    random = np.random.default_rng(seed)
    shapes = np.random.default_rng(1)  # the same images in every report
    objects = shapes.integers(2000, 9000, IMAGES)
    missed = shapes.integers(100, 400, IMAGES) + lost_pixels
    extra = shapes.integers(100, 400, IMAGES)
    found = objects - missed
    background = np.stack([65536 - objects - extra, missed, extra], axis=-1)
    foreground = np.stack([found, extra, missed], axis=-1)
    log = np.log(0.5 * (1 + slower)) + random.normal(0, noise)
    # Spread so that the jackknife tells the noise.
    offsets = np.linspace(-1, 1, GROUPS)
    without = log + offsets * noise / np.sqrt((GROUPS - 1) * offsets.var())
    flips = shapes.uniform(0, 10, IMAGES) + more_flips
    row = {
        "name": name,
        "model": "net",
        "is_baseline": False,
        "reference_key": "k",
        "quick_ratio": {"log": float(log), "without": without.tolist()},
        "per_image": {
            "counts": np.stack([background, foreground], axis=1).tolist(),
            "values": {},
            "flips_per_10k": flips.tolist(),
        },
        "accuracy": {},
        "flips_per_10k": float(flips.mean()),
    }
    baseline = {**row, "name": "net-intel-fp32 (plain export)", "is_baseline": True}
    return Report(
        {"cpu": "a core", "versions": {"openvino": "1"}} | changes.get("environment", {}),
        {"folder": "skin", "splits": ["val"], "images": IMAGES, "sha256": "a"}
        | changes.get("data", {}),
        [{"reference_key": "k", "model": "net"}],
        [baseline, row],
        protocol={"version": PROTOCOL_VERSION, "threads": 1, "runs": 200}
        | changes.get("protocol", {}),
    )


def bench_shortly(bundles: Mapping[str, Path], folder: Path) -> Path:
    """File with the report of a short `edgeseg bench` that allows a Dice loss of 0.03."""
    from edgeseg.pipeline.bench import BenchRequest, run_bench

    request = BenchRequest(
        tuple(bundles.values()), images=8, runs=4, max_change={"dice_pooled": 0.03}
    )
    path = folder / "bench.json"
    path.write_text(json.dumps(run_bench(request).to_json()))
    return path
