from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import fleet_work
import pytest
from fleet_work import LOG, WORK, plan_of, started
from support import needs

from edgeseg.benchmarks.report import Report
from edgeseg.bundle.bundle import open_bundle
from edgeseg.cli.terminal.bench_table import markdown_table, row_cells, row_warnings
from edgeseg.cli.terminal.sweep_table import sweep_table
from edgeseg.errors import BenchmarkError
from edgeseg.pipeline.fleet.sweep_file import read_sweep_file
from edgeseg.pipeline.fleet.work import Measurement, Work
from edgeseg.pipeline.sweep import SweepRequest, run_sweep
from edgeseg.progress import Progress
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
    page = run_cli("report", tmp_path, "-o", tmp_path / "page")
    assert "report.html: 2 rows" in page.stdout
    text = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert "<strong>egeunet-intel-fp61</strong> refused: Runtime openvino has no" in text


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


def test_what_cannot_be_measured_keeps_its_builds(quick_work: Path, tmp_path: Path) -> None:
    def refuse(measurement: Measurement, progress: Progress) -> Report:
        raise BenchmarkError("No core is free.")

    request = SweepRequest(plan_of(precisions=("fp32",), images=2), tmp_path, bundles="")
    result = run_sweep(request, work=Work(fleet_work.build, refuse))
    assert result.reports == {}
    (outcome,) = result.outcomes
    assert outcome.reason == "built, but not measured: No core is free."
    assert outcome.to_json()["bundle"] == str(tmp_path / "egeunet-onnxruntime-fp32")
    assert "failed: built, but not measured: No core is free." in sweep_table(result)


@pytest.fixture
def quick_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the command do steps that cost nothing; the file names what was begun."""
    path = tmp_path / "started.log"
    path.write_text("")
    monkeypatch.setenv(LOG, str(path))
    monkeypatch.setattr(run_sweep, "__defaults__", (*run_sweep.__defaults__[:-1], WORK))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text('models = ["egeunet"]\ntargets = ["onnxruntime"]\nimages = 2\n')
    return path


def test_a_file_is_swept_once(
    quick_work: Path, file: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    output = tmp_path / "out"
    words = ("sweep", file, "-o", output)
    dry = run_cli(*words, "--dry-run")
    assert dry.stdout.splitlines() == [
        "egeunet onnxruntime fp32  queued",
        "egeunet onnxruntime int8  queued",
    ]
    assert "0 of 2 cells are done, 2 queued." in dry.stderr
    assert not output.exists()
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert (
        "[2/2] egeunet onnxruntime int8  build 0 s  bench 0 s  dice -0.0021  1.08x" in done.stderr
    )
    again = run_cli(*words)
    assert again.stdout == done.stdout == (output / "table.md").read_text()
    assert len(started("build")) == 2
    status = run_cli(*words, "--status", "--json")
    record = json.loads(status.stdout)
    assert record == json.loads((output / "sweep.json").read_text())
    assert record["schema_version"] == 1
    assert [cell["state"] for cell in record["cells"]] == ["done", "done"]
    assert "2 of 2 cells are done." in run_cli(*words, "--status").stderr
    assert (output / "sweep.csv").read_text().count("\n") == 3
    assert (output / "bundles" / "egeunet-onnxruntime-int8" / "manifest.json").is_file()


def test_a_cell_that_failed_is_told_by_the_exit_code(
    quick_work: Path, file: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    file.write_text(file.read_text() + 'precisions = ["int8", "broken", "fp61"]\n')
    done = run_cli("sweep", file, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "failed: RuntimeError: it broke" in done.stdout
    assert "refused: There is no fp61." in done.stdout
    assert "1 of 3 cells are done, 1 refused, 1 failed." in done.stderr
    assert "The same command tries what failed once more." in done.stderr


def test_a_sweep_that_is_interrupted_says_how_to_go_on(
    quick_work: Path, file: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(measurement: Measurement, progress: Progress) -> Report:
        raise KeyboardInterrupt

    work = Work(fleet_work.build, interrupt)
    monkeypatch.setattr(run_sweep, "__defaults__", (*run_sweep.__defaults__[:-1], work))
    done = run_cli("sweep", file, "-o", tmp_path / "out")
    assert done.returncode == 130
    assert "0 of 2 cells are done, 2 queued. The same command goes on" in done.stderr
    monkeypatch.setattr(run_sweep, "__defaults__", (*run_sweep.__defaults__[:-1], WORK))
    assert run_cli("sweep", file, "-o", tmp_path / "out").returncode == 0
    assert len(started("build")) == 2


def test_options_are_written_as_a_file(tmp_path: Path, run_cli: RunCli) -> None:
    path = tmp_path / "new.toml"
    words = ("sweep", "-m", "egeunet", "-t", "onnxruntime", "-p", "int8", "--runs", 7, "--write")
    done = run_cli(*words, path)
    assert "1 cells. Start it with edgeseg sweep" in done.stdout
    assert read_sweep_file(path).runs == 7
    again = run_cli(*words, path)
    assert again.returncode == 2
    assert "exists. Name another file" in again.stderr


def test_a_file_and_options_are_not_mixed(file: Path, run_cli: RunCli) -> None:
    done = run_cli("sweep", file, "--threads", 1)
    assert done.returncode == 2
    assert "Leave --threads out, and change the file" in done.stderr


@needs("mlflow", "sqlalchemy", "alembic")
@pytest.mark.slow
def test_a_sweep_is_exported_once(
    quick_work: Path, file: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = ("sweep", file, "-o", tmp_path / "out", "--mlflow", uri)
    assert f"MLflow at {uri}: 2 new runs." in run_cli(*words).stderr
    assert f"MLflow at {uri}: 0 new runs." in run_cli(*words, "--status").stderr
    refused = run_cli(*words[:-1], "mlflow.db")
    assert refused.returncode == 2
    assert "Write sqlite:///mlflow.db" in refused.stderr


def test_a_folder_without_a_sweep_makes_no_report(tmp_path: Path, run_cli: RunCli) -> None:
    refused = run_cli("report", tmp_path, "-o", tmp_path / "none")
    assert refused.returncode == 2
    assert "holds no sweep" in refused.stderr


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
    assert "--option, --tuning and --device belong to one target" in done.stderr


def test_a_row_without_timing_says_why() -> None:
    cells = row_cells(ROW)
    assert cells[0] == "net-jetson-int8 *"
    assert cells[1:8] == ["", "", "", "", "", "2", ""]
    (warning,) = row_warnings([ROW])
    assert "accuracy is that of onnxruntime" in warning


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    assert markdown_table(["a", "b"], [["x|y", ""]]) == "| a | b |\n| --- | --- |\n| x\\|y |  |\n"
