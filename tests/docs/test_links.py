"""What documents point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import DOCUMENTS, PAGES, fences_of
from support import ROOT


def anchors_of(document: Path) -> set[str]:
    """Anchors of the headings for which GitHub and Zensical agree; double hyphens differ."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings]
    return {anchor for anchor in (re.sub(r"\s", "-", text) for text in plain) if "--" not in anchor}


TABLES = tuple("|┏┃┡│└")  # of Markdown, and as the commands print them


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for fence in fences_of(document):
        text = text.replace(fence.text, "")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), f"{document.name} points to {link}"
        if anchor:
            assert anchor in anchors_of(target), f"{document.name} points to {link}"


def test_pages_point_into_docs_only() -> None:
    for page in PAGES:  # the site holds nothing else
        for link in re.findall(r"\]\((\.\.[^)\s]*)\)", page.read_text(encoding="utf-8")):
            pytest.fail(f"{page.name} points to {link}, which the site does not have")


def test_the_navigation_names_every_page() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ *- .*?([\w-]+\.md)$", settings, re.MULTILINE)
    assert sorted(named) == sorted(page.name for page in PAGES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_lines_are_short(document: Path) -> None:
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith(TABLES):
            assert len(line) <= 100, f"{document.name}:{number} has {len(line)} characters"
