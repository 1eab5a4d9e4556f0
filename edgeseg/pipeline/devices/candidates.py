"""What a search needs of any device: artefacts that are tried there, one after the other."""

from __future__ import annotations

import abc
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgeseg.benchmarks.workers.protocol import Worker
from edgeseg.contract import InputContract, OutputContract
from edgeseg.records import Artifact, sha256_of_file


@dataclass(frozen=True)
class Tried:
    """What all artefacts of a search have in common.

    Attributes:
        runtime: Name of what runs them.
        inputs, outputs: Their contracts.
        threads: CPU threads of each.
    """

    runtime: str
    inputs: InputContract
    outputs: OutputContract
    threads: int


@dataclass
class Brought:
    """Which files were copied to a device, over all connections of a search.

    Attributes:
        copies: How often each was, by its checksum.
        used: Checksums of all that were needed, those among them that were there already.
        size_bytes: Of all copies.
    """

    copies: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    size_bytes: int = 0


class KeepingTransport(Protocol):
    """A way to a device that keeps files by their content."""

    def find_kept(self, sha256: str) -> str | None:
        """Path on the device of a file that it keeps; None where it does not."""

    def keep(self, source: Path, sha256: str) -> str:
        """Copy a file there; returns its path on the device."""


class Courier:
    """Brings files to a device, each once in a connection, and not where they are kept already.

    Args:
        brought: Takes note of what is copied.
    """

    def __init__(self, transport: KeepingTransport, brought: Brought) -> None:
        self._transport = transport
        self._brought = brought
        self._paths: dict[str, str] = {}

    def bring(self, path: Path) -> str:
        """Path on the device of a file of this machine, which is copied if it is not there."""
        sha256 = sha256_of_file(path)
        self._brought.used.add(sha256)
        if sha256 not in self._paths:
            there = self._transport.find_kept(sha256)
            if there is None:
                there = self._transport.keep(path, sha256)
                self._brought.copies[sha256] += 1
                self._brought.size_bytes += path.stat().st_size
            self._paths[sha256] = there
        return self._paths[sha256]


class CandidateDevice(abc.ABC):
    """A connected device on which candidates take turns.

    Attributes:
        has_masks: Whether workers write label maps, so that accuracy is that of the device.
        times_blocks: Whether a worker tells the mean of a block only, for which it starts anew.
    """

    has_masks: bool = True
    times_blocks: bool = False

    @property
    @abc.abstractmethod
    def busy_s(self) -> float:
        """Seconds that steps on the device have taken so far."""

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What a measurement there depends on: CPU, flags, cores, threads, system, versions.

        Raises:
            DeviceError: The device lacks the runtime, or the connection is lost.
        """

    @abc.abstractmethod
    def open_worker(self, artifact: Artifact, name: str) -> Worker:
        """The worker of an artefact, not started yet; its requests name files of this machine.

        Args:
            name: For messages.

        Raises:
            DeviceError: The artefact cannot be copied there.
        """

    @abc.abstractmethod
    def forget(self) -> None:
        """Remove the files that the device keeps for this search."""
