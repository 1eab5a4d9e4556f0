"""Kits of LiteRT.js and ONNX Runtime Web: they give Python's mask, load little, work offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sharing import make_once
from support import needs
from web_kits import LIMIT_MS, give_disc, require_browser, require_package

from edgeseg.embed.browser import serving
from edgeseg.embed.embed import embed_bundle
from edgeseg.embed.web_runtimes import LITERT, LITERT_UTILS, ONNXRUNTIME

expect: Any = pytest.importorskip("playwright.sync_api").expect
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MOST_MEGABYTES = {"litert": 11, "onnxruntime": 15}


def build_small(runtime: str, folder: Path) -> None:
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    build_bundle(BuildRequest("egeunet", runtime, "fp32", folder, size=(64, 64)))


def check_kit(bundle: Path, runtime: str, kit: Path, chromium: Any) -> None:
    written = embed_bundle(bundle, "web", kit)
    assert written.parity.flips_per_10k == 0
    assert (kit / "edgeseg" / "runtime" / "LICENCES.txt").is_file()
    for path in (kit / "edgeseg" / "runtime").glob("*.mjs"):
        assert "sourceMappingURL" not in path.read_text(encoding="utf-8")
    context = chromium.new_context()
    context.set_default_timeout(LIMIT_MS)
    faults: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    with serving(kit) as site:
        page.goto(site.address)
        give_disc(page)
        expect(page.locator("#offline")).to_be_visible()
    assert sum(site.sent.values()) < MOST_MEGABYTES[runtime] * 1e6
    page.reload()  # the server is gone
    give_disc(page)
    context.close()
    assert faults == []
    record = json.loads((kit / "edgeseg" / "model" / "model.json").read_text())
    assert record["runtime"] == runtime


def test_onnxruntime(small_bundles: dict[str, Path], tmp_path: Path, chromium: Any) -> None:
    require_browser()
    require_package(ONNXRUNTIME)
    check_kit(small_bundles["fp32"], "onnxruntime", tmp_path / "kit", chromium)


@needs("torch", "onnx", "onnx2tf", "tensorflow", "ai_edge_litert")
def test_litert(shared_folder: Path, tmp_path: Path, chromium: Any) -> None:
    require_browser()
    for package in (LITERT, LITERT_UTILS):
        require_package(package)
    bundle = make_once(shared_folder, "small-litert", lambda path: build_small("litert", path))
    check_kit(bundle, "litert", tmp_path / "kit", chromium)
