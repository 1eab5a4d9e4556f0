"""edgeseg embed"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .terminal.console import print_json, print_result
from .terminal.options import AsJson, Overwrite, RequiredOutput

KILO = 1000


def embed(
    bundle: Annotated[Path, typer.Argument(help="Bundle that edgeseg build wrote.")],
    output: RequiredOutput,
    web: Annotated[bool, typer.Option("--web", help="Write a web page.")] = False,
    cpp: Annotated[bool, typer.Option("--cpp", help="Write a C and C++ project.")] = False,
    android: Annotated[bool, typer.Option("--android", help="Write an Android module.")] = False,
    ios: Annotated[bool, typer.Option("--ios", help="Write a Swift package.")] = False,
    jetson: Annotated[bool, typer.Option("--jetson", help="Write a kit for a Jetson.")] = False,
    surface: Annotated[
        str | None, typer.Option(help="Write the kit of a surface that another package adds.")
    ] = None,
    packages: Annotated[
        Path | None,
        typer.Option(help="Folder node_modules with the web runtime (default: npm fetches it)."),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Run the kit on its golden image, where this machine can.")
    ] = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a folder with which an app shows a bundle's masks.

    It holds the artefact, the contract in words and as code, a golden image, source, a test and a
    README. --web, --cpp, --android, --ios or --jetson says what for.
    """
    from ..embed.embed import embed_bundle

    given = {"web": web, "cpp": cpp, "android": android, "ios": ios, "jetson": jetson}
    chosen = [name for name, is_chosen in given.items() if is_chosen]
    chosen += [surface] if surface else []
    if len(chosen) != 1:
        names = ", ".join(f"--{name}" for name in given)
        raise UsageError(
            f"A kit is for one surface, and {len(chosen)} were named. Give one of {names}."
        )
    kit = embed_bundle(
        bundle, chosen[0], output, packages=packages, overwrite=overwrite, check=check
    )
    if as_json:
        print_json(kit.to_json())
        return
    size = kit.size_bytes / KILO
    print_result(f"{output}: {kit.surface.title}, {kit.files} files, {size:.0f} kB")
    print_result(f"Golden image: {kit.parity}")
    print_result(kit.surface.next_step(output))
