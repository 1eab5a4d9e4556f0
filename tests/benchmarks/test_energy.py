"""Sensors as systems show them, in trees that stand for /sys."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edgeseg.benchmarks.energy import Counter, EnergyMeter, find_counters, find_rails


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def add_package(system: Path, number: int = 0) -> Path:
    folder = system / "class" / "powercap" / f"intel-rapl:{number}"
    write(folder / "name", f"package-{number}")
    write(folder / "max_energy_range_uj", "1000000")
    return write(folder / "energy_uj", "900000")


def add_rail(system: Path, number: int, label: str, millivolts: int, milliamperes: int) -> None:
    chip = system / "bus" / "i2c" / "devices" / "1-0040"
    write(chip / "name", "ina3221")
    monitor = chip / "hwmon" / "hwmon4"
    write(monitor / f"in{number}_label", label)
    write(monitor / f"in{number}_input", str(millivolts))
    write(monitor / f"curr{number}_input", str(milliamperes))


def test_packages_are_found_and_their_parts_are_not(tmp_path: Path) -> None:
    add_package(tmp_path)
    add_package(tmp_path, 1)
    write(tmp_path / "class" / "powercap" / "intel-rapl:0:0" / "energy_uj", "5")
    assert [one.name for one in find_counters(tmp_path)] == [
        "package-0 (RAPL)", "package-1 (RAPL)",
    ]  # fmt: skip


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    counter = Counter("x", tmp_path, 1_000_000)
    assert counter.used(0.9, 0.95) == pytest.approx(0.05)
    assert counter.used(0.9, 0.1) == pytest.approx(0.2)


def test_what_cannot_be_read_is_no_sensor(tmp_path: Path) -> None:
    write(add_package(tmp_path), "none")
    assert find_counters(tmp_path) == []
    assert find_rails(tmp_path) == []
    meter = EnergyMeter(tmp_path)
    with meter.measuring():
        pass
    assert meter.uses == []


def test_the_rail_of_the_board_is_taken_alone(tmp_path: Path) -> None:
    add_rail(tmp_path, 1, "VDD_CPU_GPU_CV", 5000, 400)
    assert [rail.name for rail in find_rails(tmp_path)] == ["VDD_CPU_GPU_CV"]
    add_rail(tmp_path, 2, "VDD_IN", 5000, 1000)
    add_rail(tmp_path, 3, "NC", 0, 0)
    (rail,) = find_rails(tmp_path)
    assert rail.name == "VDD_IN"
    assert rail.watts() == pytest.approx(5)


def test_rails_are_sampled_while_the_block_runs(tmp_path: Path) -> None:
    add_rail(tmp_path, 1, "VDD_IN", 5000, 1000)
    meter = EnergyMeter(tmp_path, idle_s=0.05)
    with meter.measuring():
        add_rail(tmp_path, 1, "VDD_IN", 5000, 3000)
        time.sleep(0.4)
    (use,) = meter.uses
    assert use.method == "sampled power"
    assert use.idle_watts == pytest.approx(5)
    assert use.joules / use.seconds == pytest.approx(15, rel=0.4)  # its first sample may be before
    assert threading.active_count() < 20


def test_counters_are_read_before_and_after(tmp_path: Path) -> None:
    counter = add_package(tmp_path)
    meter = EnergyMeter(tmp_path, idle_s=0.01)
    with meter.measuring():
        write(counter, "100000")
    (use,) = meter.uses
    assert use.joules == pytest.approx(0.2)
    assert use.idle_watts == 0
