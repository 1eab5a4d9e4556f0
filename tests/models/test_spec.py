"""What decides a network beside its weights is part of cache keys, wherever it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import needs

NETWORK = """
from pathlib import Path
from torch import nn
from act_elsewhere import act

HERE = Path(__file__).parents[1]
GAIN = float((HERE / "gain.txt").read_text())

class Helped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, image):
        return act(self.layer(image)) * GAIN
"""
SPEC = """
classes = ["background", "lesion"]
channels = 1
returns = "logits"
height = 8
width = 8
stride = 1

[normalization]
kind = "mean_std"
"""


@needs("torch")
@pytest.mark.parametrize(
    ("name", "edited"),
    [
        ("act_elsewhere.py", "from torch import tanh as act\n"),
        ("act_elsewhere.py", "from torch import relu as act\nBEFORE_TRAINING = 1\n"),
        ("gain.txt", "2.5"),
    ],
)
def test_a_helper_of_another_package_and_a_number_in_a_file_decide_it(
    name: str, edited: str, tmp_path: Path
) -> None:
    (tmp_path / "other_nets").mkdir()
    (tmp_path / "other_nets" / "nets.py").write_text(NETWORK)
    (tmp_path / "act_elsewhere.py").write_text("from torch import relu as act\n")
    (tmp_path / "gain.txt").write_text("1.5")
    (tmp_path / "spec.toml").write_text(SPEC)
    program = (
        "from pathlib import Path; from edgeseg.models import find_model\n"
        "spec = find_model('other_nets.nets:Helped', Path('spec.toml'))\n"
        "print(spec.code_digest())"
    )

    def digest() -> str:
        done = subprocess.run(
            [sys.executable, "-B", "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = digest()
    assert digest() == before
    (tmp_path / name).write_text(edited)
    assert digest() != before
