"""Rules that all commands follow."""

from __future__ import annotations

import re

from support import ROOT


def test_commands_print_through_the_console() -> None:
    """What `print` prints while a command runs goes to the log."""
    for path in (ROOT / "edgeseg" / "cli").rglob("*.py"):
        bare = re.findall(r"(?<![\w.])print\(.*", path.read_text(encoding="utf-8"))
        allowed = ("file=terminal_stdout()", "edgeseg {VERSION}")
        assert all(any(word in call for word in allowed) for call in bare), f"{path}: {bare}"
