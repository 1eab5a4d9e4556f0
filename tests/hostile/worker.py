"""One process of `run.py`: hostile inputs of one kind, a line of JSON for each.

python worker.py KIND FIRST COUNT SEED FOLDER SECONDS
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> None:
    kind, first, count, seed, place, seconds = sys.argv[1:]
    folder = Path(place)
    # Before the first import of edgeseg: all that it writes belongs into the folder.
    os.environ.update(
        EDGESEG_CACHE_DIR=str(folder / "cache"),
        TORCHINDUCTOR_CACHE_DIR=str(folder / "cache" / "torch"),
        TMPDIR=str(folder / "temporary"),
        COLUMNS="200",
    )
    for name in ("cache", "temporary", "inputs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = None
    os.chdir(folder / "inputs")
    warnings.simplefilter("ignore")
    from guard import Watch, judge, limit_memory
    from kinds import KINDS

    from edgeseg.lazy import prepare_environment

    prepare_environment()
    hostile = KINDS[kind](folder)
    # Descriptor 1 belongs to the lines of this protocol, whatever an input lets be printed.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    watch = Watch(folder)
    limit_memory()
    for index in range(int(first), int(first) + int(count)):
        print(json.dumps({"index": index}), file=lines)
        action = hostile.make(Random(f"{seed}-{kind}-{index}"))
        verdict, words = judge(action, watch, float(seconds))
        print(json.dumps({"index": index, "verdict": verdict, "words": words[:2_000]}), file=lines)


if __name__ == "__main__":
    main()
