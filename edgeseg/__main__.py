"""What starts the command line: Ctrl-C ends it without a traceback from the first import on."""

from __future__ import annotations

import sys
from pathlib import Path

INTERRUPTED = 130  # as shells have it
MESSAGE = "Error: Interrupted. Nothing half-written is left; run the command again."


def main() -> None:
    """Run the command line; see `edgeseg.cli.main`."""
    try:
        # Typer and the commands take some tenths of a second, in which Ctrl-C may come.
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        # Without our console, which may be half imported. Commands that run tell it themselves.
        print(MESSAGE, file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    # What lies in the working folder must not be taken for a library; `python -m` puts it first.
    if sys.path[:1] == [str(Path.cwd())]:
        del sys.path[0]
    main()
