"""The study of a search on a device, on an sshd of this machine that gets a part of a core.

    python tests/devices/throttled_search.py docs/results/device_search.json --size 128 128

Further words are those of `python -m edgeseg.pipeline.studies.device_search`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers" / "devices"))

from loopback_sshd import LoopbackSshd

from edgeseg.pipeline.studies import device_search
from edgeseg.storage.atomic import write_text

SHARE = 0.5  # of a core


def main() -> None:
    result, *words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        sshd = LoopbackSshd(Path(name) / "sshd")
        try:
            how = sshd.throttle(SHARE)
            os.environ["PATH"] = f"{sshd.client}{os.pathsep}{os.environ['PATH']}"
            # Nothing that was measured before may answer.
            os.environ["EDGESEG_CACHE_DIR"] = str(Path(name) / "cache")
            device = ["--device", str(sshd.address), "--device-python", sys.executable]
            sys.argv[1:] = [*device, "--json-file", result, *words]
            device_search.main()
        finally:
            sshd.close()
    record = json.loads(Path(result).read_text())
    write_text(Path(result), json.dumps({"throttled_by": how, **record}, indent=2) + "\n")


if __name__ == "__main__":
    main()
