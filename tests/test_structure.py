"""The shape of the package: floors, sizes, lazy imports, what gets installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from module_graph import (
    SIBLINGS,
    SOURCE_FOLDERS,
    circles,
    import_graph,
    imported_modules,
    imported_when_loaded,
    long_functions,
    module_files,
)
from support import ROOT

from edgeseg.lazy import BACKENDS

# Files that only work inside a bundle.
BUNDLE_FILES = ("edgeseg.targets.runners.run",)
# The public interface and what starts the command line; the other loose modules are vocabulary.
PUBLIC = ("edgeseg", "edgeseg.__main__", "edgeseg.api")
LOOSE_MODULES = 8
FOLDER_FILES = 16
FILE_LINES = 400
FUNCTION_LINES = 60
STANDS_ALONE = ("targets/runners/tensorrt_backend.py",)
# What a street must not import, in functions neither.
FORBIDDEN = {
    "metrics": ("models", "training", "pipeline", "data", "tuning", "bundle"),
    "tuning": ("pipeline",),
    "bundle": ("tuning", "pipeline"),
    "storage": ("pipeline", "cli"),
    "training": ("pipeline", "distillation"),
    "distillation": ("pipeline",),
    "reference": ("pipeline",),
    "pipeline": ("cli",),
}
# Rooms of the pipeline from the top down: one imports what lies further down, and nothing else.
# The modules that lie loose in it are the commands.
COMMANDS = "commands"
FLOORS = (
    ("studies",),
    (COMMANDS,),
    ("fleet",),
    ("measuring",),
    ("evaluator", "devices", "releasing"),
    ("builder",),
)


def test_the_files_that_are_tested_first_are_there(pytestconfig: pytest.Config) -> None:
    named = (
        name
        for plugin in pytestconfig.pluginmanager.get_plugins()
        for name in getattr(plugin, "LONGEST", ())
    )
    missing = [name for name in named if not (ROOT / "tests" / name).is_file()]
    assert missing == []


def torch_modules(files: dict[str, Path]) -> set[str]:
    """Modules that import torch as they load, themselves or by another module: network code."""
    direct = {name: imported_when_loaded(name, path) for name, path in files.items()}
    found = {name for name, used in direct.items() if used & {"torch", "torch.nn"}}
    while True:
        more = {name for name, used in direct.items() if used & found} - found
        if not more:
            return found
        found |= more


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


def test_only_the_pipeline_and_what_is_above_use_the_siblings() -> None:
    siblings = tuple(f"edgeseg.{sibling}" for sibling in SIBLINGS)
    for name, path in module_files().items():
        if name.startswith((*siblings, "edgeseg.pipeline", "edgeseg.cli", "edgeseg.api")):
            continue
        wrong = {used for used in imported_modules(name, path) if used.startswith(siblings)}
        assert not wrong, f"{name} imports {wrong}"


def test_no_import_circle() -> None:
    """Not inside functions either, and the `__init__` of a package counts."""
    assert circles(import_graph(module_files())) == []


def test_the_search_for_circles_sees_them() -> None:
    def graph(**edges: str) -> dict[str, frozenset[str]]:
        return {name: frozenset(others) for name, others in edges.items()}

    assert circles(graph(a="b", b="c", c="")) == []
    assert circles(graph(a="b", b="c", c="b", d="a")) == [["b", "c"]]
    assert circles(graph(a="b", b="a", c="d", d="e", e="c")) == [["a", "b"], ["c", "d", "e"]]


@pytest.mark.parametrize("street", FORBIDDEN)
def test_a_street_leaves_alone_what_is_above(street: str) -> None:
    forbidden = {f"edgeseg.{other}" for other in FORBIDDEN[street]}
    for name, imported in import_graph(module_files()).items():
        if f"{name}.".startswith(f"edgeseg.{street}."):
            wrong = {module for module in imported if street_of(module) in forbidden}
            assert not wrong, f"{name} imports {wrong}"


def street_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_loose_modules_import_nothing_above() -> None:
    graph = import_graph(module_files())
    loose = {name for name in graph if name.count(".") == 1 and is_file(name)} - {*PUBLIC}
    assert "edgeseg.errors" in loose
    for name in loose:
        assert graph[name] <= loose, f"{name} imports {graph[name] - loose}"


def is_file(name: str) -> bool:
    return module_files()[name].name != "__init__.py"


def test_rooms_of_the_pipeline_look_downwards_only() -> None:
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    graph = import_graph(module_files())
    rooms = {name: room_of(name) for name in graph}
    assert {*rooms.values()} == {"", *floors}
    for name, imported in graph.items():
        for other in imported:
            room, there = rooms[name], rooms[other]
            if room and there and room != there:
                assert floors[there] > floors[room], f"{name} imports {other}"


def room_of(module: str) -> str:
    """The room of the pipeline that a module lies in; empty outside."""
    parts = module.split(".")
    if parts[:2] != ["edgeseg", "pipeline"] or len(parts) == 2:
        return ""
    is_room = (ROOT / "edgeseg" / "pipeline" / parts[2]).is_dir()
    return parts[2] if is_room else COMMANDS


def test_few_modules_lie_loose() -> None:
    loose = {path.stem for path in (ROOT / "edgeseg").glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= LOOSE_MODULES, sorted(loose)


def test_no_folder_has_too_many_files() -> None:
    files = Counter(path.parent.relative_to(ROOT) for path in python_files())
    assert {folder: count for folder, count in files.items() if count > FOLDER_FILES} == {}


def test_no_file_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files()
    }
    assert {*STANDS_ALONE} < lengths.keys()
    long = {name: lines for name, lines in lengths.items() if lines > FILE_LINES}
    assert {name: lines for name, lines in long.items() if name not in STANDS_ALONE} == {}


def python_files() -> list[Path]:
    """Of the package and of its tests."""
    folders = (*SOURCE_FOLDERS, "tests")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_no_function_is_too_long() -> None:
    """But commands, whose parameters are their options, with a line of help each."""
    commands = command_functions()
    assert "edgeseg.cli.build:build" in commands
    long = {
        function: lines
        for name, path in module_files().items()
        for function, lines in long_functions(name, path, FUNCTION_LINES)
    }
    assert {name: lines for name, lines in long.items() if name not in commands} == {}


def command_functions() -> set[str]:
    """MODULE:NAME of what is registered as a command."""
    from edgeseg.cli import app

    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    callbacks = [
        item.callback
        for group in groups
        if group is not None
        for item in (*group.registered_commands, group.registered_callback)
        if item is not None
    ]
    return {f"{function.__module__}:{function.__qualname__}" for function in callbacks if function}


def test_packages_in_pyproject_equal_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    tree = {name for name, path in module_files().items() if path.name == "__init__.py"}
    assert listed == tree


def test_every_module_imports_with_all_backends_blocked(tmp_path: Path) -> None:
    files = module_files()
    left_out = {*torch_modules(files), *BUNDLE_FILES}
    names = [name for name in files if name not in left_out]
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
from edgeseg.__main__ import main
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
    assert not any(name.startswith("edgeseg/tests/") for name in names)


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
