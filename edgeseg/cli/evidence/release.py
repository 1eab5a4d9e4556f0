"""edgeseg release"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from ..terminal.console import make_progress, print_json, print_note, print_result
from ..terminal.metric_options import parse_max_change
from ..terminal.options import AsJson, Overwrite

if TYPE_CHECKING:
    from ...pipeline.release import Released, ReleaseRequest

NEEDED = "A release needs a bundle, --key and --output: edgeseg release BUNDLE --key KEY -o FOLDER."


def release(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Private key (PEM, P-256 or P-384) that signs the release."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            help="Report of edgeseg bench --json-file on this bundle (default: what bench --record "
            "wrote into it)."
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="Markdown that describes the weights (default: that of shipped ones)."),
    ] = None,
    max_change: Annotated[
        list[str] | None,
        typer.Option(
            help="METRIC=VALUE, the largest loss of a metric against the FP32 reference; a bundle "
            "that does not keep it is not signed; may be repeated."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Replay the golden image and the rewrites first.")
    ] = True,
    new_key: Annotated[
        Path | None,
        typer.Option(help="Make a pair of keys: this file, and NAME.pub.pem beside it."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a bundle with its documents, and sign all of it.

    A model card, a bill of materials, a list of foreign software, traceability, limits and
    performance, with one signature over every file, which edgeseg verify --key checks. A password
    of the key is taken from EDGESEG_KEY_PASSWORD, or asked for.
    """
    from ...dossier.keys import is_exposed
    from ...pipeline.release import ReleaseRequest

    if new_key is not None:
        _make_keys(new_key, is_alone=bundle is None)
        if bundle is None:
            return
        key = key or new_key
    if bundle is None or key is None or output is None:
        raise UsageError(NEEDED)
    request = ReleaseRequest(
        bundle=bundle,
        key=key,
        output=output,
        bench=bench,
        card=card,
        max_change=parse_max_change(max_change or [], {}),
        check=check,
        overwrite=overwrite,
    )
    made = _release(request)
    if as_json:
        print_json(made.to_json())
        return
    for verdict in made.verdicts:
        print_note(f"{made.name} {verdict.text}.")
    if made.unstated:
        named = ", ".join(name.lower() for name in made.unstated)
        print_note(
            f"Nobody has stated of the weights: {named}. The card says so. State it in a file of "
            "Markdown, and give that with --card."
        )
    if is_exposed(key):
        print_note(
            f"{key} is not encrypted, and others can read it. Keep it to yourself: chmod 600 {key}"
        )
    if made.names_images:
        print_note(
            "manifest.json was written by an older version and names images, which may be names of "
            "patients. Build the bundle anew to leave them out."
        )
    print_result(
        f"{made.folder}: {made.files} files of bundle {made.bundle_sha256[:12]}, signed by "
        f"{made.key}"
    )


def _make_keys(path: Path, *, is_alone: bool) -> None:
    from ...dossier.keys import make_key_pair

    public = make_key_pair(path)
    told = print_result if is_alone else print_note
    told(f"{path}: private key; keep it to yourself. {public}: public key, for edgeseg verify.")


def _release(request: ReleaseRequest) -> Released:
    """Make the release; a password that is missing is asked for, on a terminal."""
    from dataclasses import replace

    from ...dossier.keys import PasswordNeededError
    from ...pipeline.release import release_bundle

    try:
        return release_bundle(request, make_progress())
    except PasswordNeededError:
        if not sys.stdin or not sys.stdin.isatty():
            raise
        password = typer.prompt(f"Password of {request.key}", hide_input=True, err=True)
        return release_bundle(replace(request, password=password), make_progress())
