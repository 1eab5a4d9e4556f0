"""Sweeps in one process, whose steps cost nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fleet_work
import pytest
from fleet_work import LOG, SECONDS, WORK, plan_of, request_of_forty, started

from edgeseg.benchmarks.report import Failure, Report
from edgeseg.errors import DeviceError, UsageError, WorkerKilledError
from edgeseg.pipeline.fleet.results import csv_text
from edgeseg.pipeline.fleet.store import STORE_NAME, Store
from edgeseg.pipeline.fleet.work import Measurement, Work
from edgeseg.pipeline.sweep import SweepRequest, run_sweep, seconds_left, sweep_status
from edgeseg.progress import Progress

DRIVER = Path(fleet_work.__file__)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "started.log"
    path.write_text("")
    monkeypatch.setenv(LOG, str(path))
    return path


def test_a_sweep_builds_first_and_measures_a_model_in_one_run(tmp_path: Path) -> None:
    lines: list[str] = []
    request = SweepRequest(plan_of(models=("egeunet", "ulite"), images=2), tmp_path / "out")
    result = run_sweep(request, tell=lines.append, work=WORK)
    assert result.count("done") == 4
    assert len(started("build")) == 4
    assert started("measure") == [
        "egeunet-onnxruntime-fp32+egeunet-onnxruntime-int8/1",
        "ulite-onnxruntime-fp32+ulite-onnxruntime-int8/1",
    ]
    assert [line.partition("  ")[0] for line in lines] == [
        "[1/4] egeunet onnxruntime fp32",
        "[2/4] egeunet onnxruntime int8",
        "[3/4] ulite onnxruntime fp32",
        "[4/4] ulite onnxruntime int8",
    ]
    assert all("dice -0.0021  1.08x" in line for line in lines)
    assert [*result.reports] == ["egeunet", "ulite"]
    record = result.to_json()
    runs = {cell["run"] for cell in record["cells"]}
    assert runs == {row["run"] for report in result.reports.values() for row in report.rows}
    assert len(runs) == 2
    assert all(len(cell["bundle_sha256"]) == 64 for cell in record["cells"])


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    request = SweepRequest(plan_of(images=2), tmp_path / "out")
    first = run_sweep(request, work=WORK)
    lines: list[str] = []
    second = run_sweep(request, tell=lines.append, work=WORK)
    assert second.to_json() == first.to_json()
    assert (len(started("build")), len(started("measure")), lines) == (2, 1, [])


def test_a_cell_more_is_measured_alone(tmp_path: Path) -> None:
    run_sweep(SweepRequest(plan_of(images=2), tmp_path / "out"), work=WORK)
    more = plan_of(images=2, precisions=("fp32", "int8", "bf16"))
    result = run_sweep(SweepRequest(more, tmp_path / "out"), work=WORK)
    assert started("measure")[1:] == ["egeunet-onnxruntime-bf16/1"]
    assert result.count("done") == 3
    assert len({outcome.run for outcome in result.outcomes}) == 2
    first, second = result.reports.values()
    assert [row["name"] for row in second.rows if not row["is_baseline"]] == [
        "egeunet-onnxruntime-bf16"
    ]
    assert len(first.rows) == 3


def test_what_decides_a_result_decides_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(**changes: object) -> set[str]:
        request = SweepRequest(plan_of(**{"images": 2, **changes}), tmp_path / "out")
        return {cell.key for cell in request.cells().cells}

    same = keys()
    assert keys() == same
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    for changes in (
        {"runs": 7},
        {"images": 3},
        {"splits": ("test",)},
        {"threads": (2,)},
        {"sizes": ((64, 64),)},
        {"weights": {"egeunet": weights}},
        {"options": {"onnxruntime": {"a": "b"}}},
        {"calibration_images": 5},
    ):
        assert not keys(**changes) & same, changes
    before = keys(weights={"egeunet": weights})
    weights.write_bytes(b"other weights")
    assert not keys(weights={"egeunet": weights}) & before
    monkeypatch.setattr("edgeseg.pipeline.fleet.cells.PROTOCOL_VERSION", 99)
    assert not keys() & same
    monkeypatch.undo()
    monkeypatch.setattr("edgeseg.pipeline.fleet.cells.read_cpu", lambda: ("another", []))
    assert not keys() & same


def test_results_of_other_settings_are_told(tmp_path: Path) -> None:
    run_sweep(SweepRequest(plan_of(images=2), tmp_path / "out"), work=WORK)
    lines: list[str] = []
    request = SweepRequest(plan_of(images=2, runs=7), tmp_path / "out")
    assert run_sweep(request, tell=lines.append, work=WORK).count("done") == 2
    assert lines[0].startswith("2 earlier results here do not count: they are of another version")
    assert len(started("build")) == 2  # bundles are the same


def test_refusals_and_failures_are_rows_and_stop_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    plan = plan_of(images=2, precisions=("fp32", "fp61", "broken"), sizes=((64, 64), (100, 100)))
    request = SweepRequest(plan, tmp_path / "out")
    result = run_sweep(request, tell=lines.append, work=WORK)
    found = [(outcome.state, outcome.reason[:40]) for outcome in result.outcomes]
    stride = "egeunet: Input size 100x100 (HxW) is not"
    assert found == [
        ("done", ""),
        ("refused", stride),
        ("refused", "There is no fp61. Take another precision"),
        ("refused", stride),
        ("failed", "RuntimeError: it broke. Run the sweep ag"),
        ("refused", stride),
    ]
    assert len(lines) == 6
    again = run_sweep(request, work=WORK)
    assert [outcome.state for outcome in again.outcomes] == [state for state, _ in found]
    # Only what failed is tried again.
    assert Counter(started("build")) == {
        "egeunet-onnxruntime-fp32-64x64": 1,
        "egeunet-onnxruntime-fp61-64x64": 1,
        "egeunet-onnxruntime-broken-64x64": 2,
    }
    text = csv_text(result)
    assert text.splitlines()[0].startswith("model,target,runtime,precision,size,threads,device,")
    assert len(text.splitlines()) == 7


def test_what_fails_together_is_measured_alone(tmp_path: Path) -> None:
    plan = plan_of(images=2, precisions=("fp32", "int8", "fp16"))
    result = run_sweep(SweepRequest(plan, tmp_path / "out"), work=WORK)
    assert result.count("done") == 3
    assert len(started("measure")) == 4  # together once, then each alone


def test_a_device_that_is_gone_fails_its_cells_at_once(tmp_path: Path) -> None:
    def refuse(measurement: Measurement, progress: Progress) -> Report:
        fleet_work.write_line("measure x")
        raise DeviceError("pi5 is not reached. Switch it on.")

    work = Work(fleet_work.build, refuse)
    result = run_sweep(SweepRequest(plan_of(images=2), tmp_path / "out"), work=work)
    assert [outcome.state for outcome in result.outcomes] == ["failed", "failed"]
    assert result.outcomes[0].reason == "built, but not measured: pi5 is not reached. Switch it on."
    assert len(started("measure")) == 1


def test_a_worker_that_was_killed_is_given_another_try(tmp_path: Path) -> None:
    def measure(measurement: Measurement, progress: Progress) -> Report:
        if not started("measure"):
            fleet_work.write_line("measure killed")
            raise WorkerKilledError("The process of int8 was killed. Run it again.")
        return fleet_work.measure(measurement, progress)

    work = Work(fleet_work.build, measure)
    result = run_sweep(SweepRequest(plan_of(images=2), tmp_path / "out"), work=work)
    assert result.count("done") == 2


def test_a_bundle_that_a_report_leaves_out_is_refused(tmp_path: Path) -> None:
    def measure(measurement: Measurement, progress: Progress) -> Report:
        report = fleet_work.measure(measurement, progress)
        failure = Failure("x", "egeunet", "onnxruntime", "The runtime takes no such graph.")
        return replace(report, rows=report.rows[:-1], failures=[failure])

    work = Work(fleet_work.build, measure)
    result = run_sweep(SweepRequest(plan_of(images=2), tmp_path / "out"), work=work)
    assert [outcome.state for outcome in result.outcomes] == ["done", "refused"]
    assert "built, but not measured: The runtime takes no such" in result.outcomes[1].reason


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_bundle_that_is_gone_or_another_is_built_again(tmp_path: Path, change: str) -> None:
    def stop(measurement: Measurement, progress: Progress) -> Report:
        raise KeyboardInterrupt

    request = SweepRequest(plan_of(images=2), tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run_sweep(request, work=Work(fleet_work.build, stop))
    assert sweep_status(request).count("queued") == 2  # what was claimed is released
    folder = tmp_path / "out" / "bundles" / "egeunet-onnxruntime-int8"
    if change == "gone":
        shutil.rmtree(folder)
    else:
        manifest = folder / "manifest.json"
        text = manifest.read_text().replace('"sha256": "', '"sha256": "0', 1)
        manifest.write_text(text)
    result = run_sweep(request, work=WORK)
    assert result.count("done") == 2
    assert started("build").count("egeunet-onnxruntime-int8") == 2
    assert started("build").count("egeunet-onnxruntime-fp32") == 1


def test_a_bundle_that_another_sweep_replaces_meanwhile_is_built_again(tmp_path: Path) -> None:
    """Before it is measured; the results are never those of another network."""
    output = tmp_path / "out"

    def measure(measurement: Measurement, progress: Progress) -> Report:
        for folder in (output / "bundles").glob("ulite-*"):
            if len(started("measure")) == 0:
                shutil.rmtree(folder)
        return fleet_work.measure(measurement, progress)

    plan = plan_of(models=("egeunet", "ulite"), precisions=("fp32",), images=2)
    result = run_sweep(SweepRequest(plan, output), work=Work(fleet_work.build, measure))
    assert result.count("done") == 2
    assert started("build") == [
        "egeunet-onnxruntime-fp32", "ulite-onnxruntime-fp32", "ulite-onnxruntime-fp32",
    ]  # fmt: skip


def test_a_status_begins_nothing(tmp_path: Path) -> None:
    request = SweepRequest(plan_of(images=2), tmp_path / "out")
    result = sweep_status(request)
    assert result.count("queued") == 2
    assert seconds_left(request, result) is None
    assert not (tmp_path / "out").exists()


def test_devices_need_an_address_or_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"device pi5 has no address. Write \[device.pi5\]"):
        SweepRequest(plan_of(devices=("pi5",)), tmp_path)
    with pytest.raises(UsageError, match="Add --address"):
        SweepRequest(plan_of(), tmp_path, build_elsewhere=True)
    with pytest.raises(UsageError, match=r"999 threads .* Lower --threads"):
        SweepRequest(plan_of(threads=(1, 999)), tmp_path)


def start_driver(output: Path, *address: str, seconds: float = 0.05) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(output), *address],
        env={**os.environ, SECONDS: str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(count: int, kind: str) -> None:
    ended = time.monotonic() + 60
    while len(started(kind)) < count:
        assert time.monotonic() < ended, started(kind)
        time.sleep(0.01)


def done_once(output: Path) -> None:
    """Forty cells are done, and each result was written once."""
    result = sweep_status(request_of_forty(output))
    assert result.count("done") == 40
    with Store(output / STORE_NAME) as store:
        written = Counter(step for step, event, _ in store.log() if event == "done")
    assert len(written) == 60  # forty cells of twenty builds
    assert {*written.values()} == {1}


def test_a_driver_killed_twice_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for count, kind in ((7, "build"), (4, "measure")):
        driver = start_driver(output)
        wait_for(count, kind)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    last = start_driver(output)
    text, _ = last.communicate(timeout=60)
    assert "40 done" in text, text
    done_once(output)
    # Each was begun once, but for what a killed driver was at.
    for kind, count in (("build", 20), ("measure", 10)):
        begun = Counter(started(kind))
        assert len(begun) == count
        assert sum(begun.values()) <= count + 2


def test_two_drivers_at_once_share_the_work(tmp_path: Path) -> None:
    output = tmp_path / "out"
    drivers = [start_driver(output), start_driver(output)]
    texts = [driver.communicate(timeout=90)[0] for driver in drivers]
    assert all("40 done" in text for text in texts), texts
    done_once(output)
    for kind, count in (("build", 20), ("measure", 10)):
        assert Counter(started(kind)).total() == count
    lines = Path(os.environ[LOG]).read_text().splitlines()
    assert len({line.split()[-1] for line in lines}) == 2  # both did some


def test_a_measurement_has_the_machine_alone(tmp_path: Path) -> None:
    """While one driver measures, the other neither builds nor measures."""
    from edgeseg.pipeline.fleet.work import taking_turns

    order: list[str] = []
    with taking_turns(tmp_path, alone=False), taking_turns(tmp_path, alone=False):
        order.append("two builds")
    program = (
        "import sys; from pathlib import Path\n"
        "from edgeseg.pipeline.fleet.work import taking_turns\n"
        f"with taking_turns(Path({str(tmp_path)!r}), alone=False): print('in', flush=True)"
    )
    with taking_turns(tmp_path, alone=True):
        other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=2)
    assert other.communicate(timeout=30)[0] == b"in\n"
