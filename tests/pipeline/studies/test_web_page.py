"""A kit's page is measured in Chromium."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from sharing import make_once
from support import needs
from web_kits import build_coloured_bundle, require_browser

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import BenchmarkError, UsageError
from edgeseg.pipeline.studies import web_page
from edgeseg.pipeline.studies.web_page import main, measure_page, write_photos

pytestmark = [
    needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def bundle(shared_folder: Path) -> Path:
    return make_once(shared_folder, "coloured-bundle", build_coloured_bundle) / "bundle"


def test_the_photos_are_odd(tmp_path: Path) -> None:
    photos = [Image.open(path) for path in write_photos(tmp_path)]
    assert len(photos) == 12
    assert {photo.mode for photo in photos} >= {"RGB", "L", "CMYK", "RGBA", "P"}
    assert {photo.getexif().get(web_page.ORIENTATION) for photo in photos} == {None, 3, 6}
    assert max(photo.width * photo.height for photo in photos) == 12_000_000


def test_a_page_is_measured(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_browser()
    for name, value in (("INFERENCES", 3), ("BLOCKS", 2), ("FRAMES", 5)):
        monkeypatch.setattr(web_page, name, value)
    output = tmp_path / "page.json"
    monkeypatch.setattr(sys, "argv", ["web_page", str(bundle), "--json", str(output)])
    main()
    (record,) = json.loads(output.read_text())
    assert len(record["flips"]) == 12
    assert max(record["flips"].values()) <= 5
    assert record["backend"].startswith("WebAssembly")
    assert 0.05 < record["loaded_mb"] < 1
    assert record["first_mask_ms"] > 0
    assert min(record["step_ms"].values()) >= 0
    assert record["step_ms"]["prepare"] > 0
    assert len(record["memory_mb"]) == 3
    assert min(record["memory_mb"]) > 5
    assert record["camera_fps"] > 1
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 3
    assert table[0].count("|") == table[2].count("|")


def test_without_a_browser_it_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_page, "find_browser", lambda: None)
    with pytest.raises(UsageError, match=r"no Chromium on the PATH\. Install it"):
        measure_page(open_bundle(bundle), None)


def test_a_page_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = web_page.queue.Queue()
    reports.put({"kind": "failed", "reason": "no memory"})
    with pytest.raises(BenchmarkError, match=r"failed: no memory. Open the kit's test/index\.html"):
        web_page._collect(reports, 0)
    monkeypatch.setattr(web_page, "LIMIT_S", 0.1)
    reports.put({"kind": "opened", "first_mask_ms": 1})
    with pytest.raises(BenchmarkError, match=r"no answer in 0 s, after \['opened'\]. Open the kit"):
        web_page._collect(reports, 0)
