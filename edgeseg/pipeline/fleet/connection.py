"""The way to a Ray cluster."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

from edgeseg.benchmarks.workers.cpu import allowed_cores
from edgeseg.errors import EdgesegError, UsageError, reason_of
from edgeseg.lazy import require
from edgeseg.storage.temporary import temporary_folder

from .plan import LOCAL, SweepPlan

AUTO = "auto"
REACH_S = 5.0
LONGEST_FOLDER = 45  # characters: names of sockets below it may have 107 in all


def resource_of(device: str) -> str:
    return f"device:{device}"


def node_command(device: str, address: str) -> str:
    """What starts a node that offers a device."""
    head = address if ":" in address else "HEAD:6379"
    return f"ray start --address={head} --resources='{{\"{resource_of(device)}\": 1}}'"


@contextlib.contextmanager
def connect(address: str, plan: SweepPlan) -> Iterator[Any]:
    """A block with Ray's module, connected to a cluster.

    Args:
        address: HOST:PORT, "auto" for one that runs on this machine, or "local" to start one for
            the time of the block, which offers this machine and all devices with an address.

    Raises:
        UsageError: It has another form.
        EdgesegError: There is no such cluster, or Ray is not installed.
    """
    ray = require("ray", purpose="edgeseg sweep --address")
    quiet = {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}
    with contextlib.ExitStack() as stack:
        stack.callback(_shut_down, ray)
        if address == LOCAL:
            settings = {**quiet, **_own_cluster(plan, stack)}
        else:
            _require_reachable(address)
            settings = {key: value for key, value in quiet.items() if key != "include_dashboard"}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, **settings)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise EdgesegError(
                f"There is no Ray cluster at {address} that this process can join "
                f"({reason_of(error)}). Start one with: ray start --head"
            ) from error
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own in place
        yield ray


def _shut_down(ray: Any) -> None:
    with contextlib.suppress(Exception):
        ray.shutdown()


def _own_cluster(plan: SweepPlan, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Settings of a cluster of this machine alone, whose files go with the block."""
    settings: dict[str, Any] = {
        "num_cpus": len(allowed_cores()),
        "resources": {resource_of(name): 1 for name in (LOCAL, *plan.addresses)},
    }
    if len(tempfile.gettempdir()) + len("/edgeseg-ray-12345678.held") < LONGEST_FOLDER:
        settings["_temp_dir"] = str(stack.enter_context(temporary_folder("ray")))
    return settings


def _require_reachable(address: str) -> None:
    """Refuse an address at once where nobody listens: Ray would try for minutes.

    Raises:
        UsageError: It has another form.
        EdgesegError: Nobody listens there.
    """
    if address == AUTO:
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 2**16):
        raise UsageError(
            f"--address {address} is no cluster. Write HOST:PORT, auto for the cluster that this "
            "machine belongs to, or local to start one here."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S):
            pass
    except OSError as error:
        raise EdgesegError(
            f"No Ray cluster answers at {address} ({error.strerror or reason_of(error)}). Start "
            f"one there with: ray start --head --port={port}"
        ) from error
