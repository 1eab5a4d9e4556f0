"""Sweeps on a Ray cluster of two nodes, whose steps cost nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fleet_work
import pytest
from fleet_work import LOG, SECONDS, WORK, plan_of, request_of_forty, started
from support import needs

from edgeseg.errors import EdgesegError, UsageError
from edgeseg.pipeline.builder.device_settings import DeviceSettings
from edgeseg.pipeline.fleet import cluster
from edgeseg.pipeline.fleet.store import STORE_NAME, Store
from edgeseg.pipeline.sweep import SweepRequest, run_sweep, sweep_status

pytestmark = [needs("ray"), pytest.mark.slow]
DRIVER = Path(fleet_work.__file__)


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster whose first node has the device a, and whose second has b."""
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch:
        # Workers inherit these: what they import, and where they say what they begin.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(DRIVER.parent)]))
        patch.setenv(LOG, str(folder / "started.log"))
        patch.setenv(SECONDS, "0.1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1, "resources": {"device:a": 1}, "include_dashboard": False,
            },
        )  # fmt: skip
        cluster.add_node(num_cpus=1, resources={"device:b": 1})
        yield cluster
        cluster.shutdown()


@pytest.fixture(autouse=True)
def log(two_nodes: Any) -> Path:
    path = Path(os.environ[LOG])
    path.write_text("")
    return path


def start_driver(output: Path, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(output), address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(count: int, kind: str) -> None:
    ended = time.monotonic() + 60
    while len(started(kind)) < count:
        assert time.monotonic() < ended, started(kind)
        time.sleep(0.01)


def last_worker(log: Path, kind: str) -> int:
    """Number of the process that began last."""
    lines = [line for line in log.read_text().splitlines() if line.startswith(kind)]
    return int(lines[-1].split()[-1])


def test_forty_cells_survive_kills_of_workers_and_of_the_driver(
    two_nodes: Any, log: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = start_driver(output, two_nodes.address)
    wait_for(5, "build")
    os.kill(last_worker(log, "build"), signal.SIGKILL)
    wait_for(2, "measure")
    os.kill(last_worker(log, "measure"), signal.SIGKILL)
    wait_for(5, "measure")
    first.kill()
    first.wait()
    before = sweep_status(request_of_forty(output, two_nodes.address))
    assert 0 < before.count("done") < 40

    second = start_driver(output, two_nodes.address)
    text, _ = second.communicate(timeout=90)
    assert "40 done" in text, text
    after = sweep_status(request_of_forty(output, two_nodes.address))
    assert after.count("done") == 40
    for old, new in zip(before.outcomes, after.outcomes, strict=True):
        assert old.state != "done" or (old.run, old.row) == (new.run, new.row)
    with Store(output / STORE_NAME) as store:
        events = store.log()
    written = Counter(step for step, event, _ in events if event == "done")
    assert len(written) == 60  # forty cells of twenty builds
    assert {*written.values()} == {1}
    # Nothing that was done was begun again: three kills cost three steps at most, and the driver's
    # end what ran on both nodes.
    begun = Counter(started("measure")), Counter(started("build"))
    assert [len(each) for each in begun] == [5, 20]  # ten runs: each of these on two devices
    assert sum(begun[0].values()) <= 10 + 1 + 2
    assert sum(begun[1].values()) <= 20 + 1 + 2
    done: set[str] = set()
    for step, event, _ in events:
        assert not (event == "started" and step in done)
        done |= {step} if event == "done" else set()


def test_a_missing_device_is_named_at_once(two_nodes: Any, tmp_path: Path) -> None:
    plan = plan_of(images=2, devices=("a", "pi5"))
    request = SweepRequest(plan, tmp_path / "out", address=two_nodes.address)
    begun = time.monotonic()
    with pytest.raises(UsageError, match="has the device pi5; it has a, b") as caught:
        run_sweep(request, work=WORK)
    assert time.monotonic() - begun < 10
    line = f"ray start --address={two_nodes.address} --resources='{{\"device:pi5\": 1}}'"
    assert line in str(caught.value)
    assert started("build") == []


def test_builds_may_be_kept_off_the_machines_that_measure(two_nodes: Any, tmp_path: Path) -> None:
    plan = plan_of(images=2, devices=("a", "b"))
    request = SweepRequest(plan, tmp_path / "out", address=two_nodes.address, build_elsewhere=True)
    with pytest.raises(UsageError, match="Leave --build-elsewhere out"):
        run_sweep(request, work=WORK)
    only_a = replace(request, plan=plan_of(images=2, devices=("a",)))
    assert run_sweep(only_a, work=WORK).count("done") == 2


def test_what_hangs_or_fails_is_told(two_nodes: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    plan = plan_of(images=2, devices=("a",), precisions=("fp32", "fp61", "broken", "hanging"))
    request = SweepRequest(plan, tmp_path / "out", address=two_nodes.address, timeout_s=15)
    result = run_sweep(request, tell=lines.append, work=WORK)
    assert [outcome.state for outcome in result.outcomes] == ["done", "refused", "failed", "failed"]
    reasons = [outcome.reason for outcome in result.outcomes]
    assert reasons[1] == "There is no fp61. Take another precision."
    assert reasons[2].startswith("RuntimeError: it broke.")
    assert "did not end within 15 s" in reasons[3]
    assert "Give it more with --timeout" in reasons[3]
    assert any("dice -0.0021" in line for line in lines)
    row = result.outcomes[0].row
    assert row is not None
    assert row["key"] == str(tmp_path / "out/bundles/egeunet-onnxruntime-fp32")
    (report,) = result.reports.values()
    assert report.environment["host"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "--address nowhere is no cluster. Write HOST:PORT"),
        ("127.0.0.1:9", r"No Ray cluster answers at 127.0.0.1:9 .*ray start --head --port=9"),
    ],
)
def test_an_address_without_a_cluster_is_refused(
    tmp_path: Path, address: str, message: str
) -> None:
    request = SweepRequest(plan_of(images=2), tmp_path / "out", address=address)
    with pytest.raises(EdgesegError, match=message):
        run_sweep(request, work=WORK)


def test_a_step_that_kills_its_worker_again_and_again_has_failed(
    two_nodes: Any, tmp_path: Path
) -> None:
    lines: list[str] = []
    plan = plan_of(images=2, devices=("a",), precisions=("fp32", "deadly"))
    request = SweepRequest(plan, tmp_path / "out", address=two_nodes.address)
    result = run_sweep(request, tell=lines.append, work=WORK)
    assert [outcome.state for outcome in result.outcomes] == ["done", "failed"]
    assert "was lost with its process" in result.outcomes[1].reason
    assert "Look at that machine's memory and its log" in result.outcomes[1].reason
    assert started("build").count("egeunet-onnxruntime-deadly") == 3
    assert sum("it is queued again" in line for line in lines) == 2


def test_a_device_whose_node_is_gone_fails_what_needs_it(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a node goes after the sweep has begun."""
    monkeypatch.setattr(cluster, "GONE_S", 1.0)
    monkeypatch.setattr(cluster.Cluster, "require_resources", lambda self, address: None)
    plan = plan_of(images=2, devices=("a", "brief"), precisions=("fp32",))
    request = SweepRequest(plan, tmp_path / "out", address=two_nodes.address)
    result = run_sweep(request, work=WORK)
    found = {outcome.cell.point.device: outcome for outcome in result.outcomes}
    assert found["a"].state == "done"
    assert found["brief"].state == "failed"
    assert "has the device brief any more. Start its node again" in found["brief"].reason


def test_a_search_has_its_device_alone(two_nodes: Any, tmp_path: Path) -> None:
    address = DeviceSettings("ssh://nobody@127.0.0.1:9")
    plan = plan_of(images=2, devices=("b",), precisions=("auto",), addresses={"b": address})
    request = SweepRequest(plan, tmp_path / "out", address=two_nodes.address)
    result = run_sweep(request, work=WORK)
    assert result.count("done") == 1
    assert started("build") == ["egeunet-onnxruntime-auto-b"]
