"""Programs that run an artefact on a device where no Python is, such as a phone.

A runtime names its own one: `Runtime.device_program`.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.records import Artifact


@dataclass(frozen=True)
class ProgramCall:
    """One call of a program on the device; names are relative to the folder in which it runs.

    Attributes:
        program: Path of the program.
        graph: The artefact's first file.
        runs: Inferences to count, after one that is not counted.
        threads: CPU threads.
        seconds: No inference begins later than this.
        input_file: Raw input tensor.
        output_file: Takes the raw output tensor; None where it is not wanted.
    """

    program: str
    graph: str
    runs: int
    threads: int
    seconds: float
    input_file: str
    output_file: str | None = None


@dataclass(frozen=True)
class ProgramTimings:
    """What one call reports.

    Attributes:
        init_ms: Loading the graph and allocating tensors.
        first_ms: The first inference.
        mean_ms: Mean of the counted inferences.
        count: Number of counted inferences.
        peak_bytes: Growth of the process's peak memory since its start; None where the program
            does not report it.
    """

    init_ms: float
    first_ms: float
    mean_ms: float
    count: int
    peak_bytes: int | None


class TensorForm(Protocol):
    """How a program takes or gives values (1, C, H, W) as raw bytes."""

    @property
    def size_bytes(self) -> int: ...

    def encode(self, values: NDArray[np.float32]) -> bytes:
        """Raw tensor of values (1, C, H, W)."""

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """Values (1, C, H, W) of a raw tensor."""


class DeviceProgram(abc.ABC):
    """A program, as it is called and as it reports.

    Attributes:
        name: Of its file, and in messages.
        build_advice: Which build of it to take; completes "Take ...".
        output_flag: Flag by which it writes the output tensor; older builds may lack it.
    """

    name: ClassVar[str]
    build_advice: ClassVar[str]
    output_flag: ClassVar[str]

    @abc.abstractmethod
    def recognizes(self, help_text: str) -> bool:
        """Whether what a file printed for `--help` is this program's help."""

    def can_write_outputs(self, help_text: str) -> bool:
        """Whether a build that printed this help writes output tensors."""
        return self.output_flag in help_text

    @abc.abstractmethod
    def input_form(self, artifact: Artifact, shape: Sequence[int]) -> TensorForm:
        """How an artefact's input tensor holds prepared images of `shape`, (1, C, H, W)."""

    @abc.abstractmethod
    def output_form(self, artifact: Artifact, shape: Sequence[int]) -> TensorForm:
        """How an artefact's output tensor holds probabilities of `shape`, (1, C, H, W)."""

    @abc.abstractmethod
    def command(self, artifact: Artifact, shape: Sequence[int], call: ProgramCall) -> list[str]:
        """Words of a call.

        Args:
            shape: Of prepared images, (1, C, H, W).
        """

    @abc.abstractmethod
    def parse_timings(self, text: str) -> ProgramTimings:
        """Read what a call printed.

        Raises:
            ValueError: It reports no timings.
        """
