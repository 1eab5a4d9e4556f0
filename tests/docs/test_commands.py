"""Every command that a document shows exists, with the options that it shows."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import typer
from documents import DOCUMENTS, NOT_RUN, SHELL, Fence, commands_of, fences_of
from support import ROOT
from typer.exceptions import TyperException

from edgeseg.cli import app

# Programs of others, whose options are not looked at.
OTHER_PROGRAMS = {
    "cmake",
    "build/segment",
    "cd",
    "git",
    "npm",
    "pip",
    "python",
    "python3",
    "ray",
    "unzip",
}
FENCES = [fence for document in DOCUMENTS for fence in fences_of(document)]
SHELL_FENCES = [fence for fence in FENCES if fence.language in SHELL]


def parse(words: list[str]) -> None:
    """Parse a command of edgeseg without running it."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"edgeseg has no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[1], rest)


@pytest.mark.parametrize("fence", SHELL_FENCES, ids=lambda fence: fence.place)
def test_commands_parse(fence: Fence) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    seen = list(commands_of(fence))
    assert seen, f"{fence.place} shows no command"
    for words in seen:
        if words[0] == "edgeseg":
            try:
                parse(words)
            except TyperException as error:
                pytest.fail(f"{fence.place}: {' '.join(words)}\n{error}")
            except typer.Exit:
                pass  # --help and --version
        elif words[0] == "make":
            for target in words[1:]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no make {target}"
        else:
            assert words[0] in OTHER_PROGRAMS, f"{fence.place} shows {words[0]}"


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(TyperException, match="--presicion"):
        parse(["edgeseg", "build", "--model", "egeunet", "--target", "intel", "--presicion", "x"])
    with pytest.raises(TyperException, match="target"):
        parse(["edgeseg", "build", "--model", "egeunet"])
    with pytest.raises(TyperException, match="number"):
        parse(["edgeseg", "cache", "--prune", "many"])
    parse(["edgeseg", "plan", "show", "bundle"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_stand_in_fences_that_tests_know(document: str) -> None:
    text = document.read_text(encoding="utf-8")
    inside = "".join(fence.text for fence in fences_of(document) if fence.language in SHELL)
    for line in re.findall(r"^ *(?:\$ )?(edgeseg [a-z].*)$", text, re.MULTILINE):
        assert line in inside, f"{document.name}: put into a fence of sh: {line}"
    for fence in fences_of(document):
        if fence.language == "sh":
            assert fence.title in ("", *NOT_RUN), f"{fence.place}: title {fence.title!r}"


def test_the_extras_that_documents_install_exist() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(settings["project"]["optional-dependencies"])
    named = set()
    for document in DOCUMENTS:
        for listed in re.findall(r"'(?:\.|edgeseg)\[([\w,]+)\]'", document.read_text("utf-8")):
            named.update(listed.split(","))
    assert named >= {"export", "intel", "android", "jetson", "train"}
    assert named <= extras
