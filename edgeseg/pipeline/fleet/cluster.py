"""A sweep on a Ray cluster: Ray executes, and the driver's store remains the truth.

A machine that measures offers a counted resource, "device:NAME". Nothing is retried by Ray: what is
lost with a process is queued again here, a few times.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeseg.errors import DeviceError, UsageError, reason_of
from edgeseg.storage.cache import code_digest

from .board import Board, Group
from .cells import SweepBuild
from .connection import connect, node_command, resource_of
from .jobs import Answer, BuildJob, Built, Measured, MeasureJob, NotDone, Started, packed, perform
from .plan import SweepPlan
from .steps import FAILED
from .work import Work

POLL_S = 0.5
GONE_S = 60.0  # that a machine may be away before its cells fail
SIGN_OF_LIFE_S = 30.0


@dataclass
class Task:
    """A step that Ray has.

    Attributes:
        answers: What comes back, one after the other.
        step: What it is.
        device: That it has alone; empty where it has none.
        node: That it was sent to; empty where Ray chooses.
        since: When it was sent, or when it began.
        host: Where it runs; empty until it has begun.
    """

    answers: Any
    step: SweepBuild | Group
    device: str
    node: str
    since: float
    host: str = ""

    @property
    def keys(self) -> list[str]:
        return self.step.keys if isinstance(self.step, Group) else [self.step.key]

    @property
    def words(self) -> str:
        if isinstance(self.step, Group):
            return self.step.title
        return f"build {self.step.folder.name}"


@dataclass
class Cluster:
    """A cluster that the driver is connected to.

    Attributes:
        ray: The module.
        build_elsewhere: Leave builds to machines that measure nothing.
    """

    ray: Any
    plan: SweepPlan
    build_elsewhere: bool
    _tasks: list[Task] = field(default_factory=list)
    _gone: dict[str, float] = field(default_factory=dict)  # since when a resource is missing
    _told: float = 0.0

    @classmethod
    @contextlib.contextmanager
    def connected(cls, address: str, plan: SweepPlan, build_elsewhere: bool) -> Iterator[Cluster]:
        """A block with a cluster that has all that the plan needs.

        Raises:
            UsageError: No machine has a device, or there is no machine to build on.
            EdgesegError: There is no such cluster, or Ray is not installed.
        """
        with connect(address, plan) as ray:
            cluster = cls(ray, plan, build_elsewhere)
            cluster.require_resources(address)
            yield cluster

    def require_resources(self, address: str) -> None:
        """Refuse at once what would wait for ever: Ray does not tell that."""
        found = self.ray.cluster_resources()
        missing = [name for name in self.plan.devices if resource_of(name) not in found]
        if missing:
            there = [name.partition(":")[2] for name in found if name.startswith("device:")]
            lines = "; ".join(node_command(name, address) for name in missing)
            raise UsageError(
                f"No machine of the cluster has the device {', '.join(missing)}; it has "
                f"{', '.join(sorted(there)) or 'none'}. Start a node where it is: {lines}"
            )
        if not self._capacities():
            raise UsageError(
                "The cluster has no CPU to build on"
                + (
                    " but on machines that measure. Leave --build-elsewhere out"
                    if self.build_elsewhere
                    else ""
                )
                + ", or add a node: ray start --address=HEAD:6379"
            )

    def _own_devices(self, resources: dict[str, float]) -> list[str]:
        """Devices that a node is itself, so that a build there would disturb a measurement."""
        return [
            name
            for name in self.plan.devices
            if name not in self.plan.addresses and resource_of(name) in resources
        ]

    def _capacities(self) -> dict[str, tuple[int, str]]:
        """How many builds a node takes at once, and the device that each needs there, by node."""
        found = {}
        for node in self.ray.nodes():
            count = int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0
            own = self._own_devices(node["Resources"])
            if count and not (own and self.build_elsewhere):
                found[node["NodeID"]] = (1, own[0]) if own else (count, "")
        return found

    def run(self, board: Board, work: Work, timeout_s: float) -> None:
        """Work until every cell is settled.

        Args:
            timeout_s: Longest time that a step may wait for its start, and then take.
        """
        step = self.ray.remote(num_returns="streaming", max_retries=0)(perform)
        with board.store.beating(), self._ending_all():
            while not board.is_complete():
                self._measure(board, work, step)
                self._build(board, work, step)
                for task in self._ready():
                    self._take_answer(board, task)
                self._end_late(board, timeout_s)
                board.refresh()
                self._tell(board)

    @contextlib.contextmanager
    def _ending_all(self) -> Iterator[None]:
        """A block at whose end no task goes on."""
        try:
            yield
        finally:
            for task in self._tasks:
                self._cancel(task)
            self._tasks.clear()

    def _cancel(self, task: Task) -> None:
        with contextlib.suppress(Exception):  # it may have ended, or its machine may be gone
            self.ray.cancel(task.answers, force=True)

    def _free(self, device: str) -> float:
        """How many of a device no task of ours has."""
        held = Counter(task.device for task in self._tasks)
        resources = self.ray.cluster_resources()
        free: float = resources.get(resource_of(device), 0.0) - held[device]
        return free

    def _measure(self, board: Board, work: Work, step: Any) -> None:
        groups = board.open_groups()
        for name in {group.device for group in groups}:
            if self._is_gone(resource_of(name)):
                for group in (each for each in groups if each.device == name):
                    board.not_measured(
                        group,
                        DeviceError(
                            f"No machine of the cluster has the device {name} any more. Start its "
                            "node again, then run the sweep again."
                        ),
                    )
        for group in groups:
            if self._free(group.device) < 1 or not board.claim(group):
                continue
            paths = (*group.measurement.bundles, *group.measurement.baselines)
            job = MeasureJob(
                work,
                (board.known.digests[group.cells[0].point.model],),
                **_surroundings(),
                measurement=group.measurement,
                bundles={str(path): packed(path) for path in paths},
            )
            options = {"num_cpus": 0, "resources": {resource_of(group.device): 1}}
            self._send(step.options(**options), job, group, group.device)

    def _is_gone(self, resource: str) -> bool:
        """Whether no machine has had a resource for some time."""
        if resource in self.ray.cluster_resources():
            self._gone.pop(resource, None)
            return False
        return time.monotonic() - self._gone.setdefault(resource, time.monotonic()) > GONE_S

    def _build(self, board: Board, work: Work, step: Any) -> None:
        builds = board.open_builds()
        capacities = self._capacities() if builds else {}
        if builds and not capacities and self._is_gone("a machine to build on"):
            for build in builds:
                error = DeviceError("No machine of the cluster is left to build on. Add a node.")
                board.not_built(build, error)
        for build in builds:
            place = ("", build.device) if build.device else self._place(capacities)
            if place is None or (build.device and self._free(build.device) < 1):
                continue
            if not board.store.claim([build.key]):
                continue
            node, device = place
            options: dict[str, Any] = {"num_cpus": 1}
            if device:
                options["resources"] = {resource_of(device): 1}
            if node:
                options["scheduling_strategy"] = self._strategy(node)
            job = _build_job(board, work, build)
            self._send(step.options(**options), job, build, device, node)

    def _strategy(self, node: str) -> Any:
        return self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    def _place(self, capacities: dict[str, tuple[int, str]]) -> tuple[str, str] | None:
        """The node with most room for a build, and the device that it must have there."""
        busy = Counter(task.node for task in self._tasks)
        room = {
            node: count - busy[node]
            for node, (count, device) in capacities.items()
            if not device or self._free(device) >= 1
        }
        node = max(room, key=lambda one: room[one], default=None)
        if node is None or room[node] < 1:
            return None
        return node, capacities[node][1]

    def _send(
        self, remote: Any, job: Any, step: SweepBuild | Group, device: str, node: str = ""
    ) -> None:
        self._tasks.append(Task(remote.remote(job), step, device, node, time.monotonic()))

    def _ready(self) -> list[Task]:
        """Tasks with an answer, after a moment at most."""
        if not self._tasks:
            time.sleep(POLL_S)
            return []
        answers = [task.answers for task in self._tasks]
        ready, _ = self.ray.wait(answers, timeout=POLL_S, num_returns=1, fetch_local=False)
        return [task for task in self._tasks if any(task.answers is one for one in ready)]

    def _take_answer(self, board: Board, task: Task) -> None:
        try:
            answer: Answer = self.ray.get(next(task.answers))
        except StopIteration:
            self._lost(board, task, "it ended without a result")
        except self.ray.exceptions.RayTaskError as error:
            self._end(task)
            board.store.settle(task.keys, FAILED, f"{task.words} failed: {reason_of(error)}")
        except self.ray.exceptions.RayError as error:
            self._lost(board, task, type(error).__name__)
        else:
            if isinstance(answer, Started):
                task.host, task.since = answer.host, time.monotonic()
                board.store.note(task.keys, "started")
            else:
                self._end(task)
                _finish(board, task, answer)

    def _end(self, task: Task) -> None:
        self._tasks.remove(task)

    def _lost(self, board: Board, task: Task, reason: str) -> None:
        self._end(task)
        where = f" on {task.host}" if task.host else ""
        words = f"{task.words} was lost with its process{where} ({reason})"
        advice = "Look at that machine's memory and its log, then run the sweep again."
        if board.store.lose(task.keys, words, advice):
            board.tell(f"{words}; it is queued again.")

    def _end_late(self, board: Board, timeout_s: float) -> None:
        """End tasks that never begin, or hang."""
        for task in list(self._tasks):
            if time.monotonic() - task.since <= timeout_s:
                continue
            self._cancel(task)
            if task.host:
                self._end(task)
                reason = (
                    f"{task.words} did not end within {timeout_s:g} s on {task.host}. Give it more "
                    "with --timeout, or look at that machine."
                )
                board.store.settle(task.keys, FAILED, reason)
            else:
                self._lost(board, task, f"it did not begin within {timeout_s:g} s")

    def _tell(self, board: Board) -> None:
        """A sign of life while nothing is settled."""
        now = time.monotonic()
        if not self._told:
            self._told = now
        if self._tasks and now - self._told > SIGN_OF_LIFE_S:
            self._told = now
            running = [
                f"{task.words} on {task.host} ({now - task.since:.0f} s)"
                if task.host
                else f"{task.words} waits"
                for task in self._tasks
            ]
            board.tell("; ".join(running))


def _finish(board: Board, task: Task, answer: Built | Measured | NotDone) -> None:
    """Write what came of a step."""
    if isinstance(task.step, Group):
        if isinstance(answer, Measured):
            board.measured(task.step, answer.read(), answer.seconds)
        elif isinstance(answer, NotDone):
            board.not_measured(task.step, answer.error())
    elif isinstance(answer, Built):
        board.built(task.step, answer.placed(task.step.folder), answer.seconds)
    elif isinstance(answer, NotDone):
        board.not_built(task.step, answer.error())


def _surroundings() -> dict[str, Any]:
    openmp = os.environ.get("OMP_NUM_THREADS")
    return {"code": code_digest(), "folder": str(Path.cwd()), "openmp": openmp}


def _build_job(board: Board, work: Work, build: SweepBuild) -> BuildJob:
    request = build.request
    paths = {"weights": request.weights, "spec": request.spec}
    files = {
        field: (path.name, path.read_bytes()) for field, path in paths.items() if path is not None
    }
    digests = board.known.calibration[request.model]
    return BuildJob(work, digests, **_surroundings(), request=request, files=files)
