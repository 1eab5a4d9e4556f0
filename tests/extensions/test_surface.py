"""A surface from another package: no file of edgeseg knows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from small_bundle import write_small_bundle

from edgeseg.embed import SURFACES

RunCli = Callable[..., "CompletedProcess[str]"]

PACKAGE = '''
"""Watches, which show the golden mask and nothing else."""

from edgeseg.embed.surface import Parity, Surface


class WatchSurface(Surface):
    name = "watch"
    title = "watch face"
    runtimes = {"openvino": "a very small one"}

    def write(self, kit, folder):
        kit.write_contract(folder / "contract.json")
        kit.write_golden(folder / "golden")
        (folder / "README.md").write_text("Wear it.")

    def check(self, kit, folder):
        assert (folder / "golden" / "mask.bin").is_file()
        return Parity("a watch", flips_per_10k=0.0)
'''


@pytest.fixture
def watch(install_package: Callable[..., Path]) -> Iterator[None]:
    install_package(
        "watches",
        {"watches.py": PACKAGE},
        {"edgeseg.surfaces": {"watch": "watches:WatchSurface"}},
    )
    SURFACES._places = None  # names are looked for again
    yield
    SURFACES._places = None


@pytest.mark.usefixtures("watch")
def test_the_command_knows_it(run_cli: RunCli, tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "bundle")
    done = run_cli("embed", bundle, "--surface", "watch", "-o", tmp_path / "kit")
    assert done.returncode == 0, done.stderr
    assert "watch face, 7 files" in done.stdout
    assert "0.00 of 10,000 pixels flip (a watch)" in done.stdout
    record = json.loads((tmp_path / "kit" / "embed.json").read_text())
    assert record["surface"] == "watch"


def test_one_surface_is_named(run_cli: RunCli, tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "bundle")
    for given, count in (((), 0), (("--web", "--ios"), 2)):
        done = run_cli("embed", bundle, *given, "-o", tmp_path / "kit")
        assert done.returncode == 2
        assert f"{count} were named. Give one of --web, --cpp" in done.stderr
    done = run_cli("embed", tmp_path / "nothing", "--web", "-o", tmp_path / "kit")
    assert done.returncode == 1
    assert "does not exist. Name the folder of a bundle" in done.stderr
