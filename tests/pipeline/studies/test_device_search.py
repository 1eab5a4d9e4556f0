"""A search on an ssh device that is killed twice in between; a throttled one takes minutes:
tests/devices/throttled_search.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback_sshd import LoopbackSshd
from support import needs

from edgeseg.pipeline.builder.device_settings import DeviceSettings
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.studies import device_search
from edgeseg.targets.transports.kept_files import STORE

pytestmark = [needs("torch", "onnx", "onnxscript", "onnxruntime"), pytest.mark.slow]


def test_nothing_is_copied_or_measured_twice(
    start_sshd: Callable[..., LoopbackSshd],
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sshd = start_sshd()
    monkeypatch.setattr(device_search, "KILLED", (20, 50))
    request = BuildRequest(
        "ulite",
        "onnxruntime",
        "auto",
        size=(64, 64),
        calibration_images=4,
        search_seconds=0.0,
        device=DeviceSettings(str(sshd.address), sys.executable, timeout_s=120.0),
    )
    found = device_search.search_and_compare(request)
    assert [what.split()[0] for what in found["killed"]] == ["worker", "agent"]
    assert found["interruptions"] == 1
    assert found["files_copied"] > 0
    assert found["files_copied_twice"] == 0
    assert found["questions_answered"] >= 4
    assert found["questions_answered_twice"] == 0
    assert 0 < found["search_seconds"] <= found["device_seconds"] < found["elapsed_seconds"]
    assert found["candidates_compared"] >= 2
    assert found["best_over_chosen"] >= 1.0
    assert found["ratios_over_chosen"][found["best"]] == round(found["best_over_chosen"], 4)
    assert not (sshd.cache / STORE).exists()
