from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fleet_work import row_of
from small_bundle import write_small_bundle
from support import needs

from edgeseg.benchmarks.report import PROTOCOL_VERSION, Report
from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import EdgesegError, UsageError
from edgeseg.pipeline.measuring import mlflow_runs
from edgeseg.pipeline.measuring.mlflow_runs import (
    TrackedRow,
    export_rows,
    metrics_of,
    parameters_of,
    require_mlflow,
    tracked_rows,
)

needs_mlflow = needs("mlflow", "sqlalchemy", "alembic")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "bundle")


@pytest.fixture
def report(bundle: Path) -> Report:
    from bench_reports import report_of

    rows = [row_of(Path("plain"), is_baseline=True), row_of(bundle, name="egeunet-intel-int8")]
    one = report_of()
    scores = {"accuracy": {"dice_pooled": 0.9}, "per_image": one.rows[1]["per_image"]}
    return Report(
        one.environment, one.data, [{**one.reference[0], **scores}], rows, [], one.protocol
    )


@needs_mlflow
@pytest.mark.slow
def test_a_row_is_a_run_that_the_client_reads(
    bundle: Path, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = "sqlite:///mlflow.db"
    rows = tracked_rows(report, [bundle])
    assert export_rows(rows, uri) == 1
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("edgeseg")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "egeunet-intel-int8"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "model": "egeunet", "target": "onnxruntime", "precision": "int8", "threads": "1",
        "size": "64x96",
    }  # fmt: skip
    assert run.data.metrics["latency/p50_ms"] == 1.25
    assert run.data.metrics["accuracy/dice_pooled"] == 0.9
    assert run.data.metrics["delta/dice_pooled"] == -0.0021
    assert run.data.tags["edgeseg.protocol"] == str(PROTOCOL_VERSION)
    assert run.data.tags["edgeseg.bundle_sha256"] == open_bundle(bundle).identity
    names = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert names == ["manifest.json", "report.html"]
    page = Path(client.download_artifacts(run.info.run_id, "report.html"))
    assert "egeunet-intel-int8" in page.read_text(encoding="utf-8")
    assert (tmp_path / "mlartifacts").is_dir()
    assert not (tmp_path / "mlruns").exists()

    # Without a cell it is another measurement; with one it is written once.
    assert export_rows(rows, uri) == 1
    cells = [TrackedRow(report.rows[1], report, bundle, {"device": "pi5"}, cell="abc")]
    assert export_rows(cells, uri) == 1
    assert export_rows(cells, uri) == 0
    runs = client.search_runs([experiment.experiment_id], "params.device = 'pi5'")
    assert [run.data.tags["edgeseg.cell"] for run in runs] == ["abc"]


@needs_mlflow
def test_what_was_cut_short_is_written_again(
    bundle: Path, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has not ended does not count as written."""
    found = []

    class Client:
        def search_runs(self, _: list[str], query: str, page_token: str | None) -> Any:
            found.append(query)
            return type("Page", (list,), {"token": None})()

    assert mlflow_runs._known_cells(Client(), "1") == set()
    assert found == ["attributes.status = 'FINISHED'"]


@needs_mlflow
def test_a_place_that_cannot_be_written_is_told(
    bundle: Path, report: Report, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"
    with pytest.raises(EdgesegError, match=r"does not take the results .*can be exported again"):
        export_rows(tracked_rows(report, [bundle]), uri)


@pytest.mark.parametrize("uri", ["mlflow.db", "sqlite://", "file:///mlruns", "sqlite:///"])
def test_an_address_of_another_form_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"Write sqlite:///mlflow\.db"):
        require_mlflow(uri)


def test_numbers_that_are_none_are_left_out(bundle: Path) -> None:
    row = row_of(bundle, latency_ms=None, speedup=float("nan"), delta=None, load_ms=None)
    assert dict(metrics_of(row)) == {
        "speed/fps": 770.0,
        "memory/peak_rss_mb": 50.0,
        "size/artifact_bytes": 1500.0,
        "accuracy/flips_per_10k": 1.5,
        "accuracy/dice_pooled": 0.9,
    }
    energy = {"energy": [{"mj_per_inference": 3.5}]}
    assert dict(metrics_of(row_of(bundle, sustained=energy)))["energy/mj"] == 3.5
    assert parameters_of({"model": "net", "device": ""}) == {"model": "net"}


@needs_mlflow
def test_bench_exports_what_it_measured(
    bundle: Path, report: Report, tmp_path: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.pipeline.bench.run_bench", lambda request, progress: report)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = run_cli("bench", bundle, "--mlflow", uri, "--json")
    assert f"MLflow at {uri}: 1 new runs." in done.stderr
    assert done.stdout.startswith("{")
