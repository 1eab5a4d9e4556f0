"""What a data set is, in one hash."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from .folder import FolderDataset
from .medical.frames import file_of, sha256_of_picture


def images_digest(dataset: FolderDataset) -> str:
    """Hash of names and content of all images and masks, in their order."""
    digest = hashlib.sha256()
    for pair in dataset:
        paths = (pair.image_path, pair.mask_path)
        known = [_digest_of(path, *_state(path)) for path in paths if path is not None]
        digest.update(json.dumps([pair.name, *known]).encode())
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int]:
    state = file_of(path).stat()
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=100_000)
def _digest_of(path: Path, _size: int, _changed: int) -> str:
    return sha256_of_picture(path)
