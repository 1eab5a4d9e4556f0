from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.benchmarks.workers import cpu

ARM = "processor : 0\nBogoMIPS : 62.50\nFeatures : fp asimd asimddp\nCPU part : 0xd42\n"


def test_an_arm_board_is_named_by_its_device_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    monkeypatch.setattr(cpu, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "BOARD", tmp_path / "model")
    assert cpu.read_cpu() == ("NVIDIA Jetson Orin Nano", ["asimd", "asimddp"])


def rate(folder: Path, name: str, ratings: dict[int, int]) -> None:
    for core, rating in ratings.items():
        path = folder / f"cpu{core}" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{rating}\n")


@pytest.mark.parametrize("name", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
def test_the_fast_cores_of_a_mixed_cpu_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rate(tmp_path, name, {0: 250, 1: 250, 2: 1024, 3: 1024})
    monkeypatch.setattr(cpu, "CORES", tmp_path)
    monkeypatch.setattr(cpu, "allowed_cores", lambda: [0, 1, 2, 3])
    assert cpu.fastest_cores(1) == [2]
    assert cpu.fastest_cores(3) == [0, 2, 3]
    monkeypatch.setattr(cpu, "allowed_cores", lambda: [0, 1])
    assert cpu.fastest_cores(1) == [0]


def test_equal_cores_are_taken_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "CORES", tmp_path / "gone")
    monkeypatch.setattr(cpu, "allowed_cores", lambda: [4, 5, 6])
    assert cpu.fastest_cores(2) == [4, 5]


def test_the_time_that_threads_wait_is_summed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, waited in ((1, 2_000_000), (2, 500_000)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "schedstat").write_text(f"9000000 {waited} 17\n")
    (tmp_path / "3").mkdir()  # a thread that has ended
    monkeypatch.setattr(cpu, "THREADS", tmp_path)
    assert cpu.waited_ms() == 2.5


def test_a_system_that_does_not_tell_how_long_threads_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "THREADS", tmp_path / "none")
    assert cpu.waited_ms() is None
