"""Fixtures of the tests on ARM64."""

from __future__ import annotations

import pytest
from arm64_userland import Arm64MissingError, Arm64Userland
from support import INSTALL_SCRIPT, UNTESTED


@pytest.fixture(scope="session")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Arm64Userland:
    """An ARM64 Debian under emulation; made once, and kept for later runs."""
    try:
        return Arm64Userland(tmp_path_factory.mktemp("arm64"))
    except Arm64MissingError as error:
        UNTESTED.add(f"ARM64 (as root run {INSTALL_SCRIPT})")
        pytest.skip(f"no ARM64 userland: {error}")
