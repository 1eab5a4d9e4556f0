"""The command line. Heavy packages load inside the commands that use them."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from edgeseg.records import VERSION

from ..errors import EdgesegError
from . import (
    adapt,
    bench,
    build,
    cache,
    distill,
    doctor,
    evaluate,
    models,
    plan,
    predict,
    sweep,
    train,
    verify,
)
from .studies import calibration as calibration_study
from .studies import distillation as distill_study
from .terminal.console import print_error

app = typer.Typer(
    name="edgeseg",
    help="Edge deployment of small medical-segmentation networks, measured and proved.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("build")(build.build)
app.command("bench")(bench.bench)
app.command("sweep")(sweep.sweep)
app.command("verify")(verify.verify)
app.command("predict")(predict.predict)
app.add_typer(plan.plan, name="plan")
app.command("calibration-study")(calibration_study.calibration_study)
app.command("train")(train.train)
app.command("distill")(distill.distill)
app.command("distill-study")(distill_study.distill_study)
app.command("adapt")(adapt.adapt)
app.command("evaluate")(evaluate.evaluate)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.command("cache")(cache.cache)


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


def _end_on_signal(number: int, frame: FrameType | None) -> None:
    # Raising unwinds the blocks that remove half-written files.
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 not a sensible request."""
    signal.signal(signal.SIGTERM, _end_on_signal)
    # Threads of torch that wait by spinning starve each other on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # MONAI imports TensorFlow where it is installed, which logs from its import on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    debug = bool(os.environ.get("EDGESEG_DEBUG"))
    try:
        app()
    except EdgesegError as error:
        if debug:
            raise
        print_error(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print_error(f"{error.strerror or error}{where}. Check the path, its rights and the disk.")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        print_error(
            f"Internal error, a bug of edgeseg: {type(error).__name__}: {error}. Run again with "
            "EDGESEG_DEBUG=1 and report what it prints."
        )
        sys.exit(1)
