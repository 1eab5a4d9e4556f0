"""Builds and measurements as a store keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["build", "cell"]
QUEUED, RUNNING, DONE, FAILED, REFUSED = "queued", "running", "done", "failed", "refused"
STATES = (QUEUED, RUNNING, DONE, FAILED, REFUSED)


@dataclass(frozen=True)
class NewStep:
    """What is to be done.

    Attributes:
        key: Hash of all that decides the result.
        name: For people.
        record: What was hashed, as JSON.
    """

    key: str
    kind: Kind
    name: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """Where a step stands.

    Attributes:
        state: One of `STATES`.
        reason: Why it failed or was refused.
        host, pid: Of the driver that runs it.
        losses: How often it was lost with a process that died.
        seconds: That it took; None where it is not done.
    """

    key: str
    state: str
    reason: str
    host: str | None
    pid: int | None
    losses: int
    seconds: float | None

    @property
    def is_settled(self) -> bool:
        return self.state in (DONE, FAILED, REFUSED)
