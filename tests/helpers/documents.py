"""Documents as tests see them: their fences, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

SAMPLE_IMAGES = "edgeseg/data/isic2016_cc0/images"
README = ROOT / "README.md"
PAGES = tuple(sorted((ROOT / "docs").glob("*.md")))
DOCUMENTS = (README, ROOT / "CONTRIBUTING.md", *PAGES)

# Titles of shell fences whose commands no test runs; they are parsed, with all their options.
NOT_RUN = ("takes minutes", "needs data sets", "needs a device", "needs a GPU")
SHELL = ("sh", "console")


@dataclass(frozen=True)
class Fence:
    """A fenced block of a document.

    Attributes:
        document: Its file.
        line: Number of its first line, from 1.
        language: First word of the fence; empty for none.
        title: What the page shows above the block: a file name, or why no test runs it.
        text: What stands inside.
    """

    document: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether a test runs its commands."""
        return self.language in SHELL and self.title not in NOT_RUN


def fences_of(document: Path) -> Iterator[Fence]:
    """Every fence of a Markdown file, in order."""
    text = document.read_text(encoding="utf-8")
    pattern = r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$'
    for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        yield Fence(document, line, match[1], match[2] or "", match[3])


def commands_of(fence: Fence) -> Iterator[list[str]]:
    """The words of each command of a shell fence, comments left out.

    In a console fence the commands follow `$ `; the rest is output.
    """
    text = fence.text.replace("\\\n", " ")
    for line in text.splitlines():
        if fence.language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        words = shlex.split(line, comments=True)
        if words:
            yield words
