"""edgeseg verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal.console import make_progress, print_json, print_note, print_result
from .terminal.options import AsJson, BundleFolder


def verify(
    bundle: BundleFolder,
    key: Annotated[
        Path | None,
        typer.Option(help="Public key (PEM) of who signed the release: its signature first."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a bundle against its checksum, and replay its golden image.

    With --key the signature of a release is checked before anything of it is read or run.
    """
    from ..bundle.golden import limit_text
    from ..bundle.signature import SIGNATURE_NAME
    from ..pipeline.verify import verify_bundle, verify_signature
    from .terminal.limit_options import describe_limits

    signed = None if key is None else verify_signature(bundle, key)
    with make_progress().stage("verify"):
        opened, agreement, computed_by = verify_bundle(bundle)
    if as_json:
        record = {"computed_by": computed_by, **agreement.to_json()}
        print_json(
            {
                "bundle": opened.name,
                "bundle_sha256": opened.identity,
                "ok": True,
                "signature": signed and signed.to_json(),
                "golden": record,
            }
        )
        return
    if signed is not None:
        print_result(f"{bundle}: signed. {signed.files} files as they were signed by {signed.key}")
    elif (bundle / SIGNATURE_NAME).is_file():
        print_note(f"{bundle} is signed; --key PUBLIC.pem checks the signature.")
    by = "" if computed_by == opened.manifest.runtime else f" by {computed_by}"
    limits = opened.manifest.golden
    print_result(
        f"{bundle}: ok. {len(opened.manifest.files)} files unchanged; golden mask{by}: largest "
        f"difference {agreement.max_abs_diff:.2e} ({limit_text(limits.max_abs_diff)}), "
        f"{agreement.flips_per_10k:.2f} of 10,000 pixels flip "
        f"(allowed {limits.max_flips_per_10k:g}); bundle {opened.short_identity}"
    )
    for line in describe_limits(opened.name, opened.manifest.limits):
        print_note(line)
