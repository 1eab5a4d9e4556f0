"""Steps of a sweep that cost nothing: bundles that no runtime loads, measurements that are none.

What is begun is written to the file that `FLEET_LOG` names, a line each. As a program it is a
driver: `python fleet_work.py OUTPUT [ADDRESS]`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_reports import report_of
from small_bundle import write_small_bundle

from edgeseg.benchmarks.report import Report
from edgeseg.bundle.bundle import Bundle, open_bundle
from edgeseg.errors import BenchmarkError, TargetError
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.fleet.plan import SweepPlan
from edgeseg.pipeline.fleet.work import Measurement, Work
from edgeseg.pipeline.sweep import SweepRequest, run_sweep
from edgeseg.progress import Progress
from edgeseg.storage.atomic import writing_folder

LOG = "FLEET_LOG"
SECONDS = "FLEET_SECONDS"  # that a step takes
SIZES = tuple((side, side) for side in (32, 64, 96, 128, 160))


def plan_of(**changes: Any) -> SweepPlan:
    """One model on one target, two cells, unless more is asked for."""
    return SweepPlan(**{"models": ("egeunet",), "targets": ("onnxruntime",), **changes})


def write_line(text: str) -> None:
    with open(os.environ[LOG], "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{text}\n")


def started(kind: str) -> list[str]:
    """Names of what was begun, once for each time."""
    lines = Path(os.environ[LOG]).read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.startswith(kind)]


def build(request: BuildRequest, progress: Progress) -> Bundle:
    assert request.output is not None
    write_line(f"build {request.output.name} {os.getpid()}")
    time.sleep(float(os.environ.get(SECONDS, "0")))
    if request.precision == "fp61":
        raise TargetError("There is no fp61. Take another precision.")
    if request.precision == "hanging":
        time.sleep(60)
    if request.precision == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if request.precision == "broken":
        raise RuntimeError("it broke")
    with writing_folder(request.output, replace=True) as folder:
        write_small_bundle(folder)
        return_to = request.output
    return open_bundle(return_to)


def row_of(key: Path, **changes: Any) -> dict[str, Any]:
    return {
        **report_of().rows[1],
        "key": str(key.resolve()),
        "name": key.name,
        "model": "egeunet",
        "is_baseline": False,
        "target": "onnxruntime",
        "precision": "int8",
        "threads": 1,
        "input_size": [64, 96],
        "stand_in": None,
        "toolkit": None,
        "device": "",
        "flips_per_10k": 1.5,
        "accuracy": {"dice_pooled": 0.9},
        "delta": {"dice_pooled": -0.0021},
        "delta_ci95": {"dice_pooled": [-0.003, -0.001]},
        "latency_ms": {"p50": 1.25, "p90": 1.4, "p99": 2.0, "mean": 1.3},
        "latency_percentiles_ms": [1 + share / 100 for share in range(51)],
        "round_medians_ms": [1.2, 1.3, 1.25],
        "warm_up": {"is_steady": True},
        "fps": 770.0,
        "load_ms": 20.0,
        "peak_rss_mb": 50.0,
        "artifact_bytes": 1500,
        "speedup": 1.08,
        "speedup_ci95": [1.05, 1.1],
        "baseline": {"name": "egeunet-onnxruntime-fp32 (plain export)", "latency_ms_p50": 1.0},
        "worst_image": {"name": "a", "delta_dice": -0.1, "flips_per_10k": 12.0},
        **changes,
    }


def measure(measurement: Measurement, progress: Progress) -> Report:
    names = "+".join(folder.name for folder in measurement.bundles)
    write_line(f"measure {names}/{measurement.threads} {os.getpid()}")
    time.sleep(float(os.environ.get(SECONDS, "0")))
    for folder in measurement.bundles:
        assert open_bundle(folder).folder == folder
        if len(measurement.bundles) > 1 and "int8" in names and "fp16" in names:
            raise BenchmarkError("These two do not go together. Measure them alone.")
    plain = row_of(Path("plain"), is_baseline=True, name="egeunet-onnxruntime-fp32 (plain export)")
    rows = [plain, *map(row_of, measurement.bundles)]
    one = report_of(environment={"threads": measurement.threads})
    scores = {"accuracy": {"dice_pooled": 0.9}, "per_image": one.rows[1]["per_image"]}
    reference = [{**one.reference[0], "model": "egeunet", **scores}]
    return replace(one, rows=rows, reference=reference)


WORK = Work(build, measure)


def request_of_forty(output: Path, address: str | None = None) -> SweepRequest:
    """Forty cells: of twenty bundles, each on two devices of a cluster or with two threads."""
    axes: dict[str, Any] = {"threads": (1, 2)} if address is None else {"devices": ("a", "b")}
    plan = plan_of(targets=("onnxruntime", "native"), sizes=SIZES, images=2, **axes)
    return SweepRequest(plan, output, address=address, timeout_s=60)


if __name__ == "__main__":
    result = run_sweep(request_of_forty(Path(sys.argv[1]), *sys.argv[2:3]), tell=print, work=WORK)
    print(result.count("done"), "done")
