"""What documents say of the project is so: folders, words, numbers."""

from __future__ import annotations

import json
import re

import pytest
import typer
from documents import PAGES, README, fences_of
from result_tables import AUTO_FILES, SWEEP_FILE, read_reports, table_of
from support import ROOT

from edgeseg.cli import app
from edgeseg.pipeline.studies.limits import table_lines
from edgeseg.quantize import METHODS
from edgeseg.targets import RUNTIMES
from edgeseg.targets.devices import device_names

TOP_FOLDERS = ("edgeseg", "quantize", "targets", "benchmarks")
NETWORKS = {"EGE-UNet": "egeunet", "U-Lite": "ulite", "MiniSeg": "miniseg"}
# Words of ours that a reader of --help may not know: word in the help -> entry of the glossary.
HELP_WORDS = {
    "artefact": "artefact",
    "baseline": "baseline",
    "bundle": "bundle",
    "critic": "critic",
    "edge twin": "edge twin",
    "FP32 reference": "FP32 reference",
    "generation": "generation",
    "golden": "golden pair",
    "Paraphraser": "Paraphraser",
    "plan": "plan",
    "recipe": "recipe",
    "runtime": "runtime",
    "salience graph": "salience graph",
    "split": "split",
    "target": "target",
    "teacher": "teacher, student",
    "toolkit": "external toolkit",
}


def help_texts(command: object) -> list[str]:
    """Every help text of a command and of those below it."""
    texts = [str(getattr(command, "help", "") or "")]
    texts += [str(getattr(option, "help", "") or "") for option in getattr(command, "params", ())]
    for below in getattr(command, "commands", {}).values():
        texts += help_texts(below)
    return texts


def glossary_entries() -> list[str]:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)
    return [entry for entry in entries if entry != "word"]


def test_the_architecture_names_every_folder_and_no_other() -> None:
    (tree,) = (f for f in fences_of(ROOT / "docs/architecture.md") if f.title == "Folders")
    named = re.findall(r"^(\S+)/ +\S", tree.text, re.MULTILINE)
    folders = {
        str(path.parent.relative_to(ROOT))
        for top in TOP_FOLDERS
        for path in (ROOT / top).rglob("__init__.py")
    }
    patterns = [name for name in named if "NAME" in name]  # NAME stands for any
    covered = {folder for name in patterns for folder in folders if _stands_for(name, folder)}
    assert all(any(_stands_for(name, folder) for folder in folders) for name in patterns)
    assert sorted(set(named) - set(patterns)) == sorted(folders - (covered - set(named)))


def _stands_for(name: str, folder: str) -> bool:
    return re.fullmatch(name.replace("NAME", "[^/]+"), folder) is not None


@pytest.mark.parametrize("page", ["architecture.md", "extending.md", "distillation.md"])
def test_files_that_pages_name_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:edgeseg|quantize|targets|benchmarks|tests)/[\w./-]+)`", text)
    assert named
    for name in named:
        if "NAME" not in name:
            assert (ROOT / name).exists(), f"{page} names {name}"


def test_the_glossary_has_the_words_of_help() -> None:
    entries = glossary_entries()
    texts = " ".join(help_texts(typer.main.get_command(app)))
    seen = {word for word in HELP_WORDS if re.search(rf"\b{word}", texts)}
    assert len(seen) > len(HELP_WORDS) / 2
    for word in seen:
        assert HELP_WORDS[word] in entries


def test_the_glossary_is_without_repetition_and_its_references_lead_somewhere() -> None:
    entries = glossary_entries()
    assert len(entries) == len(set(entries)) > 60
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    for word in re.findall(r"\*([^*\n]+)\*", text):
        if word == "italics":
            continue
        singular = re.sub(r"s$", "", word)
        assert any(word in entry or singular in entry for entry in entries), word


def test_pages_name_every_target_runtime_and_method() -> None:
    usage = (ROOT / "docs/usage.md").read_text(encoding="utf-8")
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    calibration = (ROOT / "docs/calibration.md").read_text(encoding="utf-8")
    assert [name for name in device_names() if f"`{name}`" not in usage] == []
    assert [name for name in RUNTIMES.names() if f"`{name}`" not in glossary] == []
    assert [name for name in METHODS.names() if f"`{name}`" not in calibration] == []


def test_the_entry_point_groups_are_named() -> None:
    extending = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    for registry in (RUNTIMES, METHODS):
        assert f"`{registry.group}`" in extending


def test_result_tables_equal_the_files() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    for names in (AUTO_FILES, (SWEEP_FILE,)):
        assert "\n".join(table_of(*names)) in text, (
            "print it: python tests/helpers/result_tables.py"
        )


def test_the_table_of_the_readme_equals_the_files() -> None:
    measured = {
        (row["model"], row["target"]): row
        for name in AUTO_FILES
        for report in read_reports(name)
        for row in report["rows"]
        if not row["is_baseline"]
    }
    rows = re.findall(r"^\| ([\w-]+), (\d+)x\2 \| `(\w+)` \| (.+) \|$", README.read_text(), re.M)
    assert len(rows) == 5
    for network, size, target, cells in rows:
        row = measured[NETWORKS[network], target]
        assert row["input_size"] == [int(size)] * 2
        assert cells.split(" | ") == [
            f"{row['speedup']:.2f}",
            f"{row['delta']['dice_pooled']:+.4f}",
            f"{row['flips_per_10k']:.1f}",
        ]


def test_result_files_that_pages_point_to_are_all() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in (ROOT / "docs/results").glob("*.json"):
        assert f"results/{path.name}" in text, f"no page points to {path.name}"
        json.loads(path.read_text(encoding="utf-8"))


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_table_of_certified_limits_is_that_of_its_records() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    records = sorted((ROOT / "docs/results").glob("limits_*.json"))
    assert records
    for path in records:
        lines = table_lines(json.loads(path.read_text(encoding="utf-8")))
        assert [line for line in lines[2:] if line not in text] == []
        assert lines[0] in text
        assert f"(results/{path.name})" in text
