"""The page of a small network in Chromium, for the tests of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sharing import make_once
from web_kits import LIMIT_MS, build_coloured_bundle, require_browser

from edgeseg.embed.browser import browser_switches, serving
from edgeseg.embed.embed import embed_bundle

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
Page = Any


@pytest.fixture(scope="module")
def web_bundle(shared_folder: Path) -> Path:
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    return make_once(shared_folder, "coloured-bundle", build_coloured_bundle) / "bundle"


@pytest.fixture(scope="module")
def web_kit(web_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "kit"
    embed_bundle(web_bundle, "web", folder, check=False)
    return folder


@pytest.fixture(scope="module")
def other_web_kit(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network of the same shape, with other weights and names."""

    def build(folder: Path) -> None:
        build_coloured_bundle(folder, is_other=True)

    bundle = make_once(shared_folder, "other-coloured-bundle", build) / "bundle"
    folder = tmp_path_factory.mktemp("other-web") / "kit"
    embed_bundle(bundle, "web", folder, check=False)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=path, args=[*browser_switches(), *CAMERA]
        )
        found.new_context()
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(web_kit: Path) -> Iterator[str]:
    with serving(web_kit) as site:
        yield site.address


@pytest.fixture
def open_page(chromium: Any, address: str) -> Iterator[Callable[..., Page]]:
    """Open the page in a context of its own; nothing may go elsewhere, and nothing may fail."""
    contexts, asked, faults = [], [], []

    def open_it(path: str = "", **options: Any) -> Page:
        context = chromium.new_context(**options)
        context.set_default_timeout(LIMIT_MS)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: faults.append(str(error.error)))
        page = context.new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(address + path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    own = (address, f"blob:{address}", "data:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert [text for text in faults if "net::ERR" not in text] == []
    assert asked
