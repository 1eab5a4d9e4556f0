"""What the README shows works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, needs

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "edgeseg/data/isic2016_cc0/images"


def shell_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@needs("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
@pytest.mark.slow
def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    commands = shell_commands()
    assert len(commands) >= 8
    images = " ".join(str(path) for path in sorted(SAMPLE.glob("*.jpg"))[:2])
    for command in commands:
        words = shlex.split(command.replace("$IMAGES", images))
        assert words[0] == "edgeseg"
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    for made in ("bench.json", "masks.png", "bundles/egeunet-intel-int8/manifest.json"):
        assert (tmp_path / made).is_file()

    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = "\n".join(
        [
            "import numpy as np",
            "image = np.zeros((90, 120, 3), np.uint8)",
            *code,
            "print(mask.shape)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "(90, 120)\n", done.stderr


def test_files_that_documents_point_to_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name} points to {link}"


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert named >= {"demo", "test"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
