"""What a search needs of any device: artefacts that are tried there, one after the other."""

from __future__ import annotations

import abc
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from edgeseg.benchmarks.workers.protocol import Worker
from edgeseg.contract import InputContract, OutputContract
from edgeseg.records import Artifact


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
