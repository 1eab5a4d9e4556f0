"""--spec of a network that edgeseg has: how it reads images, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.errors import UsageError
from edgeseg.models import find_model


@pytest.mark.parametrize("name", ["egeunet", "egeunet-twin"])
def test_a_spec_tells_how_a_registered_network_reads_images(name: str, tmp_path: Path) -> None:
    spec = tmp_path / "ct.toml"
    spec.write_text("ignore = 7\n[window]\ncentre = 40\nwidth = 400\n[volume]\naxis = 1\n")
    plain, found = find_model(name), find_model(name, spec, (128, 128))
    assert (found.inputs.window, found.inputs.axis, found.outputs.ignore) == ((40, 400), 1, 7)
    assert found.inputs.height == 128
    assert found.inputs.normalization == plain.inputs.normalization
    assert (found.import_path, found.weights) == (plain.import_path, plain.weights)
    spec.write_text("white = 4095")
    assert find_model(name, spec).inputs.white == 4095


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('classes = ["a", "b"]', "has classes, which egeunet states itself.*leave window, volume"),
        ("[window]\ncentre = 1", "does not say how images are read: .window. holds centre;"),
        ("white = 1.5", "white is 1.5, which is not a whole number. Correct that entry"),
        ("white = 0", "White is a value from 1 to 65535, got 0. Correct that entry"),
        ("white = ", "is no TOML.*Correct it"),
    ],
)
def test_what_a_registered_network_states_itself_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    spec = tmp_path / "ct.toml"
    spec.write_text(text)
    with pytest.raises(UsageError, match=message):
        find_model("egeunet", spec)
    with pytest.raises(UsageError, match="Check the path"):
        find_model("egeunet", tmp_path / "none.toml")
