"""The command line. Heavy packages load inside the commands that use them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import typer

from edgeseg.records import VERSION

from ..errors import EdgesegError
from ..lazy import prepare_environment
from ..storage.cache import cache_root, take_damaged
from . import (
    adapt,
    bench,
    build,
    cache,
    demo,
    distill,
    doctor,
    embed,
    evaluate,
    inspect,
    models,
    predict,
    sweep,
    train,
    verify,
)
from .evidence import compare, profile, release, report
from .groups import data, plan
from .studies import calibration as calibration_study
from .studies import distillation as distill_study
from .terminal.captured_output import DEBUG, CapturedCommand, notes_of
from .terminal.console import print_error, print_note
from .terminal.metric_options import ScoringCommand, TuningCommand

app = typer.Typer(
    name="edgeseg",
    help="Edge deployment of small medical-segmentation networks, measured and proved.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "build": build.build,
    "inspect": inspect.inspect,
    "bench": bench.bench,
    "compare": compare.compare,
    "profile": profile.profile,
    "report": report.report,
    "sweep": sweep.sweep,
    "verify": verify.verify,
    "release": release.release,
    "predict": predict.predict,
    "embed": embed.embed,
    "calibration-study": calibration_study.calibration_study,
    "train": train.train,
    "distill": distill.distill,
    "distill-study": distill_study.distill_study,
    "adapt": adapt.adapt,
    "evaluate": evaluate.evaluate,
    "models": models.models,
    "doctor": doctor.doctor,
    "cache": cache.cache,
}
LISTS_METRICS = {"build": TuningCommand, "evaluate": ScoringCommand}  # at the end of their help
for command_name, command in COMMANDS.items():
    kind = LISTS_METRICS.get(command_name, CapturedCommand)
    app.command(command_name, cls=kind)(command)
app.add_typer(plan.plan, name="plan")
app.add_typer(data.data, name="data")


def _print_version(value: bool) -> None:
    if value:
        print(f"edgeseg {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


class _Stopped(SystemExit):
    """A signal asks the process to end, with the exit code that shells give to that."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


def _end_on_signal(number: int, frame: FrameType | None) -> None:
    # Raising unwinds the blocks that remove half-written files.
    raise _Stopped(number)


def _require_output() -> None:
    """End where the standard output is closed, as nobody would see the result.

    Whatever of the three standard descriptors is closed is opened, so that no file of ours gets
    its number, to which other packages print.
    """
    is_closed = sys.stdout is None
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (for as long as the process lives)
    if is_closed:
        print_error("The standard output is closed. Send it to a file or to /dev/null.")
        sys.exit(1)


def _drop_output() -> None:
    """Let what could not be written go: at its end, Python would try it again and complain."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 not a sensible request."""
    signal.signal(signal.SIGTERM, _end_on_signal)
    _require_output()
    prepare_environment()
    with contextlib.suppress(EdgesegError):  # commands that need the cache say it
        # torch makes this folder as networks are exported, otherwise among the temporary files.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_root() / "torch"))
    debug = bool(os.environ.get(DEBUG))
    try:
        try:
            app()
        finally:
            for path in take_damaged():
                print_note(f"{path} in the cache was damaged; it was made anew.")
            sys.stdout.flush()
    except _Stopped as stopped:
        print_error(f"Stopped by {stopped.signal.name}. Run the command again.")
        raise
    except EdgesegError as error:
        if debug:
            raise
        print_error(str(error), notes_of(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        _drop_output()
        sys.exit(1)
    except OSError as error:
        _drop_output()
        if debug:
            raise
        # Of a file that was copied, the second name is that which could not be written.
        place = error.filename2 or error.filename
        where = f" ({place})" if place else ""
        # Of many files that could not be copied, the first tells why.
        is_list = isinstance(error, shutil.Error) and isinstance(error.args[0], list)
        reason = error.args[0][0][-1] if is_list else error.strerror or error
        message = f"{reason}{where}. Check the path, its rights and the disk."
        print_error(message, notes_of(error))
        sys.exit(1)
    except MemoryError as error:
        if debug:
            raise
        print_error(
            "There is not enough memory for this. Take a smaller --size or fewer images, or give "
            "the process more.",
            notes_of(error),
        )
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        print_error(
            f"Internal error, a bug of edgeseg: {type(error).__name__}: {error}. Report it with "
            "the details, or run again with EDGESEG_DEBUG=1 and report what it prints.",
            notes_of(error),
        )
        sys.exit(1)
