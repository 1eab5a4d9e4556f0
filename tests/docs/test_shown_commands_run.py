"""The commands and the Python code that documents show work, and print what is shown.

A fence without a label runs, in the order of its document. Labelled ones are parsed only: see
test_commands.py.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from documents import README, SAMPLE_IMAGES, Fence, commands_of, fences_of
from support import ROOT, needs

pytestmark = [
    pytest.mark.slow,
    needs("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "monai", "lightning_fabric"),
]
DATA = ROOT / "edgeseg/data/isic2016_cc0"
IMAGES = sorted((ROOT / SAMPLE_IMAGES).glob("*.jpg"))[:2]
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]\d+)?")
ELLIPSIS = "..."

RunCli = Callable[..., "CompletedProcess[str]"]
RunShown = Callable[[Sequence[str], Path], str]


@pytest.fixture
def run(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> RunShown:
    """Run a command of edgeseg in a folder; its standard output."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # commands look in the working folder

    def run(words: Sequence[str], folder: Path) -> str:
        variables = {"$IMAGES": [str(path) for path in IMAGES], "$DATA": [str(DATA)]}
        given = [part for word in words for part in variables.get(word, [word])]
        assert given[0] == "edgeseg", f"no test runs {given[0]}: label the fence"
        with contextlib.chdir(folder):
            done = run_cli(*given[1:])
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
        return done.stdout

    return run


def run_python(code: str, folder: Path, before: str = "") -> str:
    """Run Python code in a folder; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


def run_document(document: Path, folder: Path, run: RunShown) -> None:
    """Run every shell fence of a document that has no label."""
    for fence in fences_of(document):
        if fence.runs:
            for words in commands_of(fence):
                run(words, folder)


def shown_output(fence: Fence) -> dict[str, list[str]]:
    """The output below each command of a console fence, by the command's line."""
    shown: dict[str, list[str]] = {}
    for line in fence.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            shown[line] = []
        else:
            shown[list(shown)[-1]].append(line)
    return shown


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the lines that a document shows are those of the output, numbers apart.

    "..." at the end of a line, or alone in one, stands for what is left out.
    """
    rest = list(printed)
    for position, line in enumerate(shown):
        if line == ELLIPSIS:
            following = shown[position + 1 :]
            return any(matches(following, rest[start:]) for start in range(len(rest) + 1))
        if not rest:
            return False
        actual = _without_numbers(rest.pop(0))
        wanted = _without_numbers(line.removesuffix(ELLIPSIS))
        is_equal = actual.startswith(wanted) if line.endswith(ELLIPSIS) else actual == wanted
        if not is_equal:
            return False
    return not rest


def _without_numbers(line: str) -> str:
    plain = NUMBER.sub("0", line).replace("-0", "+0")
    return re.sub(r"([\s━─])+", r"\1", plain).strip()  # columns may be wider


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the commands of the README."""
    return tmp_path_factory.mktemp("readme")


@pytest.fixture
def readme_folder(compared: Path, run: RunShown) -> Path:
    """Folder in which the commands of the README have run, their output compared."""
    is_over = compared / "is over"
    if is_over.exists():
        return compared
    for fence in fences_of(README):
        if fence.language != "console":
            continue
        for line, shown in shown_output(fence).items():
            words = next(commands_of(Fence(README, fence.line, "console", "", line)))
            # Another test of this run may have built the same before.
            said = run(words, compared).replace(" (from the cache)", "")
            printed = said.splitlines()
            assert matches(shown, printed), f"{fence.place} shows\n{fence.text}\nbut\n" + "\n".join(
                printed
            )
    is_over.touch()
    return compared


def test_commands_of_the_readme_write_what_it_says(readme_folder: Path) -> None:
    for name in ("bench.json", "masks.png", "bundles/egeunet-intel-fp32/manifest.json"):
        assert (readme_folder / name).is_file()


def test_python_of_the_readme(readme_folder: Path) -> None:
    (fence,) = (fence for fence in fences_of(README) if fence.language == "python")
    image = "import numpy as np\nimage = np.zeros((90, 120, 3), np.uint8)"
    assert run_python(f"{fence.text}\nprint(mask.shape)", readme_folder, image) == "(90, 120)\n"


def test_commands_of_the_usage_page(readme_folder: Path, run: RunShown) -> None:
    run_document(ROOT / "docs/usage.md", readme_folder, run)


def test_commands_of_the_release_page(readme_folder: Path, run: RunShown) -> None:
    run_document(ROOT / "docs/release.md", readme_folder, run)
    assert (readme_folder / "release/model.sig").is_file()


def test_a_network_of_your_own(
    tmp_path: Path, run: RunShown, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: sys.modules.pop("tiny_net", None))
    page = ROOT / "docs/custom-models.md"
    written = [fence for fence in fences_of(page) if re.fullmatch(r"[\w.]+\.\w+", fence.title)]
    assert [fence.title for fence in written] == ["tiny_net.py", "tiny_net.toml"]
    for fence in written:
        (tmp_path / fence.title).write_text(fence.text, encoding="utf-8")
    run_document(page, tmp_path, run)
    assert (tmp_path / "bundles/tiny/manifest.json").is_file()


def test_python_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fences = [fence for fence in fences_of(ROOT / "docs/python.md") if fence.language == "python"]
    code = "\n".join(fence.text for fence in fences if not fence.title)
    assert len(fences) >= 4
    image = "import numpy as np, PIL.Image\n"
    image += f"image = np.asarray(PIL.Image.open({str(IMAGES[0])!r}))"
    monkeypatch.chdir(tmp_path)
    exec(f"{image}\n{code}\nprint(mask.shape == image.shape[:2])", {})
    assert capfd.readouterr().out.splitlines()[-1] == "True"
    assert (tmp_path / "overlay.png").is_file()


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        (["p50 3.1 ms"], ["p50 12.25 ms"], True),
        (["a", "..."], ["a", "b", "c"], True),
        (["a ..."], ["a and more"], True),
        (["..."], [], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
        (["...", "c"], ["a", "b"], False),
    ],
)
def test_output_is_compared(shown: list[str], printed: list[str], expected: bool) -> None:
    assert matches(shown, printed) is expected
