"""Measurements kept as they are taken, so that a search that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..storage.atomic import remove_other_kind, write_text
from ..storage.cache import mark_used, sealed, tell_damaged, unsealed
from ..storage.reading import read_json


class TimingCache:
    """Answers to questions, each a file.

    Args:
        folder: Of one network, target, machine and set of images: what is asked about elsewhere
            must not be answered from here.
        clock: Seconds, of any origin.
        enabled: False asks everything anew.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.monotonic, *, enabled: bool = True
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.enabled = enabled
        self.seconds = 0.0  # that all answers took, also those of an earlier search
        self._counted: set[Path] = set()

    def ask(
        self,
        question: dict[str, Any],
        answer: Callable[[], dict[str, Any]],
        keeps: Callable[[dict[str, Any]], bool] = lambda answer: True,
    ) -> dict[str, Any]:
        """The kept answer, else a new one, which is kept at once.

        Args:
            question: JSON.
            answer: Gives JSON. When it raises, nothing is kept.
            keeps: Whether to keep what it gave.
        """
        text = json.dumps(question, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
        record = self._read(path, question)
        if record is None:
            started = self.clock()
            found = answer()
            record = {"question": question, "answer": found, "seconds": self.clock() - started}
            # What is told is what a later search will read.
            record = json.loads(json.dumps(record))
            if keeps(found):
                self.folder.mkdir(parents=True, exist_ok=True)
                remove_other_kind(path)
                write_text(path, json.dumps(sealed(record)) + "\n")
        if path not in self._counted:
            self._counted.add(path)
            self.seconds += record["seconds"]
        kept: dict[str, Any] = record["answer"]
        return kept

    def _read(self, path: Path, question: dict[str, Any]) -> dict[str, Any] | None:
        if not self.enabled:
            return None
        try:
            record = read_json(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            record = None
        # Without the checksum, an answer that was changed would choose another candidate.
        found = unsealed(record)
        if found is None or found.get("question") != json.loads(json.dumps(question)):
            tell_damaged(path)
            return None
        mark_used(path)
        return found
