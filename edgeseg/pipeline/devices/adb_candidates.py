"""Candidates of a search on an Android device: one call of the runtime's program a block."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.workers.cpu import NOTABLE_FLAGS
from edgeseg.records import Artifact
from edgeseg.targets.device_program import DeviceProgram
from edgeseg.targets.transports.adb import AdbTransport

from .adb import PROPERTIES, AdbDevice, AdbPlace, AdbWorker, find_program
from .candidates import Brought, CandidateDevice, Courier, Tried

FLAG_LINES = ("Features", "flags")  # of /proc/cpuinfo on ARM and on x86


class AdbCandidates(CandidateDevice):
    """See `CandidateDevice`.

    Args:
        transport: Entered.
        program: As `AdbDevice` takes it.
        brought: Takes note of what is copied.
    """

    times_blocks = True

    def __init__(
        self, transport: AdbTransport, tried: Tried, program: str | None, brought: Brought
    ) -> None:
        self.transport = transport
        self.tried = tried
        self.brought = brought
        self.bring = Courier(transport, brought).bring
        self._device = _KeptProgram(transport, program, tried.threads, self.bring)
        self._folders = itertools.count()
        self._program = self._device.install_program(
            find_program(
                tried.runtime,
                lambda able: (
                    f"Runtime {tried.runtime} has no program that runs without Python, so that it "
                    f"cannot be tried over adb. Take --runtime {' or '.join(able)}, or an ssh "
                    "device."
                ),
            )
        )

    @property
    def has_masks(self) -> bool:  # type: ignore[override]
        return self._program.writes_outputs

    @property
    def busy_s(self) -> float:
        return self.transport.busy_s

    def fingerprint(self) -> dict[str, Any]:
        names = " ".join(f'"$(getprop {name})"' for name in PROPERTIES.values())
        program = self._program.path
        script = f"printf '%s\\n' {names} \"$(uname -mrs)\"; sha256sum {program}; cat /proc/cpuinfo"
        lines = self.transport.shell(script).splitlines()
        facts = dict(zip(PROPERTIES, lines, strict=False))
        system, digest, *about_cpu = lines[len(PROPERTIES) :]
        pairs = [line.partition(":") for line in about_cpu]
        flags = {
            flag for name, _, text in pairs if name.strip() in FLAG_LINES for flag in text.split()
        }
        return {
            **facts,
            "cpu": facts["cpu"] or facts["model"] or "unknown CPU",
            "cpu_flags": [flag for flag in NOTABLE_FLAGS if flag in flags],
            "cores": sum(name.strip() == "processor" for name, _, _ in pairs),
            "os": system,
            "versions": {self._program.kind.name: digest.split()[0][:12]},
            "threads": self.tried.threads,
        }

    def open_worker(self, artifact: Artifact, name: str) -> AdbWorker:
        place = AdbPlace(
            self.transport,
            self._program,
            artifact,
            self.tried.inputs,
            self.tried.outputs,
            self.bring(artifact.folder / artifact.files[0]),
            f"candidate{next(self._folders)}",
            self.tried.threads,
        )
        return AdbWorker(place, name)

    def forget(self) -> None:
        self.transport.forget(sorted(self.brought.used))


class _KeptProgram(AdbDevice):
    """Its program goes to the device once, for all connections.

    Args:
        bring: Copies a file there.
    """

    def __init__(
        self,
        transport: AdbTransport,
        program: str | None,
        threads: int,
        bring: Callable[[Path], str],
    ) -> None:
        super().__init__(transport, program, threads)
        self._bring = bring

    def _push_program(self, kind: DeviceProgram) -> str:
        if self._program is not None and Path(self._program).is_file():
            return self._bring(Path(self._program))
        return super()._push_program(kind)
