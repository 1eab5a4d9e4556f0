from __future__ import annotations

import pytest

from edgeseg.targets.native import compiler


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without optimisation, in a third of the time; what is computed stays the same.

    What ships is optimised: so are the artefacts of all tests that do not ask for this.
    """
    words = tuple("-O0" if word == "-O2" else word for word in compiler.COMPILE)
    assert words != compiler.COMPILE
    monkeypatch.setattr(compiler, "COMPILE", words)
