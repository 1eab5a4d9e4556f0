"""The shape of the package: layers, lazy imports, what gets installed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from support import ROOT

from edgeseg.lazy import BACKENDS

SIBLINGS = ("quantize", "targets", "benchmarks")
# Files that only work inside a bundle.
BUNDLE_FILES = ("edgeseg.targets.runners.run",)


def module_files() -> dict[str, Path]:
    """Every module of the package with its file."""
    files = {}
    for folder, package in (("edgeseg", "edgeseg"), *((s, f"edgeseg.{s}") for s in SIBLINGS)):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            files[name] = path
    return files


def torch_modules(files: dict[str, Path]) -> set[str]:
    """Modules that import torch as they load, themselves or by another module: network code."""
    direct = {name: imported_when_loaded(name, path) for name, path in files.items()}
    found = {name for name, used in direct.items() if used & {"torch", "torch.nn"}}
    while True:
        more = {name for name, used in direct.items() if used & found} - found
        if not more:
            return found
        found |= more


def imported_when_loaded(name: str, path: Path) -> set[str]:
    """As `imported_modules`, of the statements that run when the module is loaded."""
    return imported_by(name, path, ast.parse(path.read_text(encoding="utf-8")).body)


def imported_modules(name: str, path: Path) -> set[str]:
    """Absolute names of what a module imports anywhere in it."""
    return imported_by(name, path, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_by(name: str, path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    """Absolute names of what the import statements among some nodes import."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join((*parents, base)).rstrip(".")
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("sibling", SIBLINGS)
def test_siblings_do_not_import_each_other_or_what_is_above(sibling: str) -> None:
    above = ["edgeseg.cli", "edgeseg.pipeline"]
    forbidden = tuple(above + [f"edgeseg.{other}" for other in SIBLINGS if other != sibling])
    for name, path in module_files().items():
        if name.startswith(f"edgeseg.{sibling}"):
            wrong = {used for used in imported_modules(name, path) if used.startswith(forbidden)}
            assert not wrong, f"{name} imports {wrong}"


def test_plain_records_import_no_other_part() -> None:
    allowed = {"edgeseg", "edgeseg.errors", "edgeseg.errors.MissingBackendError"}
    files = module_files()
    for name in ("edgeseg.records", "edgeseg.errors", "edgeseg.lazy", "edgeseg.contract"):
        own = {used for used in imported_modules(name, files[name]) if used.startswith("edgeseg")}
        assert own <= allowed, f"{name} imports {own - allowed}"


def test_only_the_pipeline_and_the_commands_use_the_siblings() -> None:
    siblings = tuple(f"edgeseg.{sibling}" for sibling in SIBLINGS)
    for name, path in module_files().items():
        if name.startswith((*siblings, "edgeseg.pipeline", "edgeseg.cli")):
            continue
        wrong = {used for used in imported_modules(name, path) if used.startswith(siblings)}
        assert not wrong, f"{name} imports {wrong}"


def test_packages_in_pyproject_equal_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    tree = {name for name, path in module_files().items() if path.name == "__init__.py"}
    assert listed == tree


def test_every_module_imports_with_all_backends_blocked(tmp_path: Path) -> None:
    files = module_files()
    names = [name for name in files if name not in (*torch_modules(files), *BUNDLE_FILES)]
    names.remove("edgeseg.__main__")
    script = f"""
import importlib, sys
for name in {list(BACKENDS)}:
    sys.modules[name] = None
for name in {names}:
    importlib.import_module(name)
print(len({names}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(names)


def test_help_loads_no_heavy_package(tmp_path: Path) -> None:
    script = """
import sys
sys.argv = ["edgeseg", "--help"]
from edgeseg.cli import main
try:
    main()
except SystemExit:
    pass
print("LOADED", sorted(set(sys.modules) & {"numpy", "PIL", "pydantic", *BACKENDS}))
""".replace("*BACKENDS", ", ".join(repr(name) for name in BACKENDS))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "LOADED []" in done.stdout


@pytest.mark.slow
def test_the_wheel_installs_only_edgeseg(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*map(str, command), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"edgeseg"}
    assert "edgeseg/py.typed" in names
    assert "edgeseg/targets/runners/run.py" in names
    assert "edgeseg/data/isic2016_cc0/images/ISIC_0000011.jpg" in names
    assert sum(name.endswith(".safetensors") for name in names) >= 1
    assert not any("tests/" in name for name in names)


def test_a_folder_called_targets_in_the_working_folder_does_no_harm(tmp_path: Path) -> None:
    for name in ("targets", "quantize", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    done = subprocess.run(
        [sys.executable, "-m", "edgeseg", "doctor", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, done.stderr
