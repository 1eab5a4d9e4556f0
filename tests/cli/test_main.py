"""Rules that all commands follow."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer
from support import ROOT

from edgeseg.cli import COMMANDS, app

RunCli = Callable[..., "CompletedProcess[str]"]


def test_commands_print_through_the_console() -> None:
    """What `print` prints while a command runs goes to the log."""
    for path in (ROOT / "edgeseg" / "cli").rglob("*.py"):
        bare = re.findall(r"(?<![\w.])print\(.*", path.read_text(encoding="utf-8"))
        allowed = ("file=terminal_stdout()", "edgeseg {VERSION}")
        assert all(any(word in call for word in allowed) for call in bare), f"{path}: {bare}"


def help_texts() -> dict[str, str]:
    """Each help text by where it is shown, such as "build --model"."""
    group = typer.main.get_command(app)
    found: dict[str, str] = {}

    def collect(command: Any, words: str) -> None:
        found[words] = (command.help or "").strip().split("\n\n")[0]
        for parameter in command.params:
            if parameter.name not in ("help", "install_completion", "show_completion"):
                found[f"{words} {parameter.name}"] = parameter.help or ""
        for name, child in getattr(command, "commands", {}).items():
            collect(child, f"{words} {name}")

    collect(group, "edgeseg")
    return found


def test_help_is_plain_english() -> None:
    """A text starts with a verb or names the thing, and is a sentence that can be read."""
    texts = help_texts()
    assert len(texts) > 150
    assert texts["edgeseg distill temperature"] == "Softmax temperature of the distillation loss."
    for where, text in texts.items():
        assert re.match(r"[A-Z]", text), f"{where}: {text!r} starts with a small letter"
        assert text.split()[0] not in ("Of", "That", "So", "As", "Its", "Instead"), where
        assert text.endswith("."), f"{where}: {text!r} has no full stop"
        assert len(" ".join(text.split())) <= 160, f"{where}: {text!r} is too long"


SHARED = {
    "as_json", "overwrite", "threads", "runs", "spec", "size", "calibration_images", "labels",
    "resume", "workers", "accelerator", "epochs", "epoch_steps", "batch_size", "learning_rate",
    "method_option", "cache", "build", "build_precision",
}  # fmt: skip


def test_an_option_means_the_same_in_every_command() -> None:
    """One name, one type, one text, one set of flags."""
    meanings: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for command_name, command in COMMANDS.items():
        for name, hint in get_type_hints(command, include_extras=True).items():
            # `edgeseg cache` has the name of the option, and none of that name.
            if get_origin(hint) is Annotated and (name, command_name) != ("cache", "cache"):
                kind, option = get_args(hint)
                # Typer takes the first flag of an annotation for a default until it runs.
                flags = (option.default, *(option.param_decls or ()))
                meanings[name].add((option.help, kind, flags))
    assert meanings.keys() >= SHARED
    for name in SHARED:
        assert len(meanings[name]) == 1, f"{name}: {meanings[name]}"
    # A sweep takes one for each model, a study several seeds; a report is a file, a run a folder.
    for name, most in (("data", 4), ("weights", 3), ("split", 1), ("seed", 2), ("output", 3)):
        assert len(meanings[name]) <= most, f"{name}: {meanings[name]}"
    assert {flags for _, _, flags in meanings["output"]} == {("--output", "-o")}
    for where, text in help_texts().items():
        if where.endswith(" as_json"):
            assert text == "Print the result as JSON."


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("verify", "bundle", "--key", ""), "--key"),
        (("release", "bundle", "--key", "k.pem", "-o", ""), "-o"),
        (("verify", "bundle", "--key="), "--key"),
        (("verify", ""), "An argument"),
        (("evaluate", "--model", "egeunet", "--data", ""), "--data"),
    ],
)
def test_an_empty_word_is_not_the_current_folder(
    run_cli: RunCli, words: tuple[str, ...], what: str
) -> None:
    done = run_cli(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {what} is empty")
    assert "Name what is meant, or leave it out" in done.stderr
