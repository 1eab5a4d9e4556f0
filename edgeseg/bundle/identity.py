"""The identity of a bundle: the hash by which reports, pages and devices name it.

This file travels in bundles, as runner/identity.py: it imports nothing of EdgeSeg.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

IDENTITY_LENGTH = 12  # digits that people read
# When it was built, how it was measured, and the times by which its precision was chosen.
NOT_COVERED = ("created", "measurements", "tuning", "race")


def identity_of(manifest: Any) -> str:
    """SHA-256 over a manifest, which holds the checksums of all files.

    Older manifests do not say what theirs covers: it is the names and checksums of the files, as
    their reports have it.

    Args:
        manifest: As it is on disk, and not brought to a newer schema: the identity stays.

    Raises:
        LookupError, TypeError: It is no manifest.
    """
    if manifest.get("identity_covers") == "manifest":
        covered = {name: part for name, part in manifest.items() if name not in NOT_COVERED}
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"))
    else:
        text = json.dumps(sorted([file["path"], file["sha256"]] for file in manifest["files"]))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
