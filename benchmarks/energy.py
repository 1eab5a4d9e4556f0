"""Energy where a sensor exists; nothing is estimated from a data sheet.

Intel and AMD count the energy of a package (RAPL, through powercap); counters see everything that
runs there. Jetsons have INA3221 chips, whose power is read ten times a second.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SYSTEM = Path("/sys")
INTERVAL_S = 0.1
IDLE_S = 2.0
MICRO, MILLI = 1e-6, 1e-3
# The whole board, in the order of preference; else all rails are added up.
BOARD_RAILS = ("VDD_IN", "POM_5V_IN")


@dataclass(frozen=True)
class Counter:
    """A counter of energy that starts again at zero behind its range.

    Attributes:
        name: Of what it counts.
        path: File with microjoules.
        range_uj: Value behind which it starts again.
    """

    name: str
    path: Path
    range_uj: int

    def read(self) -> float:
        return int(self.path.read_text()) * MICRO

    def used(self, before: float, after: float) -> float:
        """Joules between two readings, between which it wrapped around once at most."""
        return after - before if after >= before else after - before + self.range_uj * MICRO


@dataclass(frozen=True)
class Rail:
    """A rail whose power is voltage times current.

    Attributes:
        name: Its label.
        voltage, current: Files with millivolts and milliamperes.
    """

    name: str
    voltage: Path
    current: Path

    def watts(self) -> float:
        millivolts, milliamperes = int(self.voltage.read_text()), int(self.current.read_text())
        return millivolts * milliamperes * MILLI * MILLI


@dataclass(frozen=True)
class EnergyUse:
    """What a sensor saw.

    Attributes:
        sensor: Its name.
        method: "counter" or "sampled power".
        joules: While the run lasted.
        seconds: That it lasted.
        idle_watts: Just before, with nothing of ours running.
    """

    sensor: str
    method: str
    joules: float
    seconds: float
    idle_watts: float

    def to_json(self, inferences: int) -> dict[str, Any]:
        """With millijoules of an inference, all of it and what is above idle."""
        above = self.joules - self.idle_watts * self.seconds
        return {
            **asdict(self),
            "mj_per_inference": 1e3 * self.joules / max(inferences, 1),
            "mj_per_inference_above_idle": 1e3 * above / max(inferences, 1),
        }


def find_counters(system: Path = SYSTEM) -> list[Counter]:
    """RAPL's packages whose counters this process may read."""
    found = []
    for folder in sorted((system / "class" / "powercap").glob("intel-rapl:*")):
        if folder.name.count(":") != 1:  # parts of a package
            continue
        with contextlib.suppress(OSError, ValueError):
            name = (folder / "name").read_text().strip()
            limit = int((folder / "max_energy_range_uj").read_text())
            counter = Counter(f"{name} (RAPL)", folder / "energy_uj", limit)
            counter.read()
            found.append(counter)
    return found


def find_rails(system: Path = SYSTEM) -> list[Rail]:
    """Rails of INA3221 chips: that of the whole board where there is one, else all of them."""
    rails = []
    for chip in sorted((system / "bus" / "i2c" / "devices").glob("*")):
        with contextlib.suppress(OSError):
            if (chip / "name").read_text().strip() != "ina3221":
                continue
            for monitor in sorted((chip / "hwmon").glob("hwmon*")):
                rails += list(_rails_of(monitor))
    board = [rail for name in BOARD_RAILS for rail in rails if rail.name == name]
    return board[:1] or rails


def _rails_of(monitor: Path) -> Iterator[Rail]:
    for number in (1, 2, 3):  # channel 7 is the sum of shunts
        with contextlib.suppress(OSError, ValueError):
            label = (monitor / f"in{number}_label").read_text().strip()
            rail = Rail(label, monitor / f"in{number}_input", monitor / f"curr{number}_input")
            rail.watts()
            if "NC" not in label:
                yield rail


class EnergyMeter:
    """Measures what a block uses, by every sensor that there is.

    Args:
        system: Where the system tells of its devices.
        idle_s: How long the idle power is looked at before the block.

    Attributes:
        uses: Filled as the block ends; empty where there is no sensor.
    """

    def __init__(self, system: Path = SYSTEM, idle_s: float = IDLE_S) -> None:
        self._counters = find_counters(system)
        self._rails = find_rails(system)
        self._idle_s = idle_s
        self.uses: list[EnergyUse] = []

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure the block."""
        if not self._counters and not self._rails:
            yield
            return
        idle = self._watch(lambda: time.sleep(self._idle_s))
        started = _Watch(self._counters, self._rails)
        with started:
            yield
        self.uses = [
            EnergyUse(name, method, joules, started.seconds, idle[name])
            for name, method, joules in started.joules()
        ]

    def _watch(self, block: Any) -> dict[str, float]:
        """Mean watts of each sensor during a block."""
        watch = _Watch(self._counters, self._rails)
        with watch:
            block()
        return {name: joules / watch.seconds for name, _, joules in watch.joules()}


class _Watch:
    """Reads counters before and after a block, and rails while it lasts."""

    def __init__(self, counters: Sequence[Counter], rails: Sequence[Rail]) -> None:
        self._counters, self._rails = counters, rails
        self._samples: list[float] = []
        self._end = threading.Event()
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.monotonic()
        self._before = [counter.read() for counter in self._counters]
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._after = [counter.read() for counter in self._counters]
        self.seconds = time.monotonic() - self._start
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while self._rails:
            self._samples.append(sum(rail.watts() for rail in self._rails))
            if self._end.wait(INTERVAL_S):
                return

    def joules(self) -> Iterator[tuple[str, str, float]]:
        """Name, method and energy of each sensor."""
        for counter, before, after in zip(self._counters, self._before, self._after, strict=True):
            yield counter.name, "counter", counter.used(before, after)
        if self._samples:
            mean = sum(self._samples) / len(self._samples)
            names = "+".join(rail.name for rail in self._rails)
            yield f"{names} (INA3221)", "sampled power", mean * self.seconds
