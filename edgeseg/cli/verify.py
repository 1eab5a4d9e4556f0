"""edgeseg verify"""

from __future__ import annotations

from .terminal.console import make_progress, print_json, print_result
from .terminal.options import AsJson, BundleFolder


def verify(
    bundle: BundleFolder,
    as_json: AsJson = False,
) -> None:
    """Check every file of a bundle against its checksum, and replay its golden image."""
    from ..bundle.golden import limit_text
    from ..pipeline.verify import verify_bundle

    with make_progress().stage("verify"):
        opened, agreement, computed_by = verify_bundle(bundle)
    if as_json:
        record = {"computed_by": computed_by, **agreement.to_json()}
        print_json({"bundle": opened.name, "ok": True, "golden": record})
        return
    by = "" if computed_by == opened.manifest.runtime else f" by {computed_by}"
    limits = opened.manifest.golden
    print_result(
        f"{bundle}: ok. {len(opened.manifest.files)} files unchanged; golden mask{by}: largest "
        f"difference {agreement.max_abs_diff:.2e} ({limit_text(limits.max_abs_diff)}), "
        f"{agreement.flips_per_10k:.2f} of 10,000 pixels flip "
        f"(allowed {limits.max_flips_per_10k:g})"
    )
