"""The site is built without a warning, and its pages ask nobody else for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import PAGES
from support import ROOT, needs

# Attributes of tags with which a browser fetches something by itself.
FETCHING = re.compile(
    r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href|srcset)=[\"']?"
    r"((?:https?:)?//[^\"'\s>]+)",
    re.IGNORECASE,
)
FETCHING_STYLE = re.compile(r"(?:@import\s+|url\()[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


def requests_of(text: str) -> list[str]:
    """Addresses elsewhere that a page or a style sheet fetches; a canonical link is none."""
    plain = re.sub(r"<link\b[^>]*\brel=[\"']?canonical[^>]*>", "", text)
    return FETCHING.findall(plain) + FETCHING_STYLE.findall(plain)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    return folder / "build" / "site"


@needs("zensical")
def test_every_page_is_built(site: Path) -> None:
    for page in PAGES:
        assert (site / page.with_suffix(".html").name).is_file()


@needs("zensical")
def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > len(PAGES)
    for path in files:
        assert requests_of(path.read_text(encoding="utf-8")) == [], path.name


@needs("zensical")
def test_no_block_of_code_stands_as_text(site: Path) -> None:
    for page in site.glob("*.html"):
        assert "```" not in page.read_text(encoding="utf-8"), page.name


def test_requests_are_noticed() -> None:
    font = "<link rel='stylesheet' href='https://fonts.example/css'>"
    assert requests_of(font) == ["https://fonts.example/css"]
    assert requests_of("<script src=//cdn.example/a.js></script>") == ["//cdn.example/a.js"]
    assert requests_of("@import url(https://a.example/b.css);") == ["https://a.example/b.css"]
    assert requests_of('<a href="https://arxiv.org/abs/1">paper</a>') == []
