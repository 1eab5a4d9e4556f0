"""edgeseg data check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from ..terminal.captured_output import CapturedCommand
from ..terminal.console import make_progress, print_json, print_result
from ..terminal.options import AsJson

if TYPE_CHECKING:
    from ...data.check import Finding

SHOWN = 20  # findings of one kind

data = typer.Typer(help="Look at data folders.", no_args_is_help=True)


@data.callback()
def _options() -> None:
    # Without it, the only command would need no name.
    pass


@data.command(cls=CapturedCommand)
def check(
    folder: Annotated[Path, typer.Argument(help="Folder with images/ and masks/.")],
    classes: Annotated[
        int, typer.Option(min=2, max=255, help="Number of classes, background included.")
    ] = 2,
    ignore: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Value in masks of which nothing is known."),
    ] = None,
    input_channels: Annotated[
        int, typer.Option(min=1, max=4, help="Channels of the network's input.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """List all faults of a data folder, and the split that will be used.

    Exit code 1 where there are faults; notes are none.
    """
    from ...data.check import check_folder

    if not folder.is_dir():
        raise UsageError(f"No data folder at {folder}. Check the path.")
    checked = check_folder(folder, classes, ignore, input_channels, make_progress())
    if as_json:
        print_json(checked.to_json())
    else:
        print_result(f"{checked.images} images in {folder}; split: {checked.split}")
        _print_findings("Fault", checked.faults)
        _print_findings("Note", checked.notes)
        count = len(checked.faults)
        print_result(f"{count} fault{'' if count == 1 else 's'}" if count else "No faults.")
    if checked.faults:
        raise typer.Exit(1)


def _print_findings(title: str, findings: tuple[Finding, ...]) -> None:
    from ...data.check import count_kinds

    for kind, count in count_kinds(findings).items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        for finding in of_kind[:SHOWN]:
            print_result(f"{title}, {kind}: {finding.file}: {finding.message}")
        if count > SHOWN:
            print_result(f"{title}, {kind}: {count - SHOWN} more; --json lists them all.")
