from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import needs

from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.bundle.bundle import open_bundle
from edgeseg.cli.sweep import sweep_table
from edgeseg.cli.terminal.bench_table import markdown_table, row_cells, row_warnings
from edgeseg.data.folder import open_sample
from edgeseg.errors import BenchmarkError
from edgeseg.pipeline import sweep
from edgeseg.pipeline.build import BuildRequest
from edgeseg.targets.devices import device_names

RunCli = Callable[..., "CompletedProcess[str]"]

ROW = {
    "name": "net-jetson-int8",
    "stand_in": "onnxruntime",
    "is_baseline": False,
    "latency_ms": None,
    "artifact_bytes": 1500,
    "accuracy": {"dice_pooled": 0.9},
    "delta": {"dice_pooled": -0.001},
    "delta_ci95": {"dice_pooled": [-0.002, 0.0]},
    "flips_per_10k": 12.0,
}


@needs("torch", "openvino", "nncf")
@pytest.mark.slow
def test_a_sweep_measures_what_builds_and_names_what_does_not(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    done = run_cli(
        "sweep", "-o", tmp_path, "-m", "egeunet", "-t", "intel", "-p", "int8", "-p", "fp61",
        "--split", "val", "--runs", 5,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == (tmp_path / "table.md").read_text().splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == [
        "egeunet FP32 reference",
        "egeunet-intel-fp32 (plain export)",
        "egeunet-intel-int8",
        "egeunet-intel-fp61",
    ]
    assert "refused: Runtime openvino has no precision 'fp61'" in lines[-1]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert [cell["refusal"] is None for cell in record["cells"]] == [True, False]
    assert open_bundle(tmp_path / "egeunet-intel-int8").name == "egeunet-intel-int8"
    rows = record["reports"]["egeunet"]["rows"]
    assert rows[1]["speedup"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "egeunet"], "--weights egeunet is not MODEL=PATH"),
        (["--data", "egeunet=gone"], "there is no gone. Check the path"),
        (["-m", "ulite", "--weights", "egeunet=."], "names egeunet, which is not swept"),
        (["-m", "egeunet", "--split", "tset"], "Did you mean test"),
        (["-m", "egeunet", "--threads", "999"], "999"),
    ],
)
def test_sweep_refuses_words_it_cannot_use(
    tmp_path: Path, run_cli: RunCli, words: list[str], message: str
) -> None:
    done = run_cli("sweep", "-o", tmp_path, *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_what_cannot_be_measured_keeps_its_builds(
    small_bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BenchmarkError("No core is free.")

    monkeypatch.setattr(sweep, "bench_bundles", refuse)
    request = BuildRequest("egeunet", "intel", "fp32", tmp_path)
    cell = sweep.Cell(request, open_bundle(small_bundles["fp32"]))
    settings = BenchSettings(threads=1, runs=1)
    cells, reports = sweep.measure_cells([cell], {"egeunet": open_sample(["val"])}, settings)
    assert reports == {}
    assert cells[0].refusal == "built, but not measured: No core is free."
    assert cells[0].to_json()["bundle"] == str(cell.bundle.folder)  # type: ignore[union-attr]
    assert "refused: built, but not measured: No core is free." in sweep_table(cells, reports)


@needs("torch", "openvino", "nncf", "onnxruntime")
@pytest.mark.slow
def test_build_for_all_targets_makes_a_set(tmp_path: Path, run_cli: RunCli) -> None:
    folder = tmp_path / "set"
    words = ("build", "-m", "ulite", "-t", "all", "-p", "fp32", "--size", "64x64", "-o", folder)
    done = run_cli(*words, "--json")
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)
    assert [cell["target"] for cell in cells] == list(device_names())
    by_target = {cell["target"]: cell for cell in cells}
    for name in ("intel", "onnxruntime"):
        assert by_target[name]["bundle"] == str(folder / name)
        assert open_bundle(folder / name).manifest.target == name
    again = run_cli(*words)
    assert "already holds a bundle" in again.stderr


def test_build_for_all_targets_that_all_refuse_fails(tmp_path: Path, run_cli: RunCli) -> None:
    done = run_cli("build", "-m", "egeunet", "-t", "all", "-p", "fp61", "-o", tmp_path / "set")
    assert done.returncode == 1
    assert "No target builds egeunet in fp61 here" in done.stderr


def test_build_for_all_targets_takes_no_option_of_one(tmp_path: Path, run_cli: RunCli) -> None:
    done = run_cli(
        "build", "-m", "egeunet", "-t", "all", "-p", "fp32", "-o", tmp_path, "--option", "a=1"
    )
    assert done.returncode == 2
    assert "--option and --tuning belong to one target" in done.stderr


def test_a_row_without_timing_says_why() -> None:
    cells = row_cells(ROW)
    assert cells[0] == "net-jetson-int8 *"
    assert cells[1:8] == ["", "", "", "", "", "2", ""]
    (warning,) = row_warnings([ROW])
    assert "accuracy is that of onnxruntime" in warning


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    assert markdown_table(["a", "b"], [["x|y", ""]]) == "| a | b |\n| --- | --- |\n| x\\|y |  |\n"
