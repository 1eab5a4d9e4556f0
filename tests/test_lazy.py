"""Backends load late, and a missing one names the command that adds it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json.decoder
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import ROOT

from edgeseg import lazy
from edgeseg.benchmarks.workers import protocol
from edgeseg.errors import MissingBackendError, UsageError
from edgeseg.lazy import (
    BACKENDS,
    attributes_on_demand,
    install_command,
    installed_version,
    is_installed,
    provider_of,
    require,
)
from edgeseg.storage.cache import cache_root


@pytest.fixture
def backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder whose modules can be imported; `engine` and `absent` count as backends."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("engine", "absent"):
        monkeypatch.setitem(lazy.BACKENDS, name, (f"{name}-dist", "intel"))
    yield tmp_path
    for name in ("engine", "engine.part"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("module", [name for name, (_, extra) in BACKENDS.items() if extra])
def test_the_extra_of_each_backend_installs_it(module: str) -> None:
    distribution, extra = BACKENDS[module]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["optional-dependencies"][extra]
    assert distribution in {re.split(r"[<>=\[]", line)[0] for line in requirements}


def test_a_backend_is_found_without_being_imported(backends: Path) -> None:
    (backends / "engine.py").write_text("raise RuntimeError('imported')\n")
    assert is_installed("engine")
    assert not is_installed("absent")
    assert not is_installed("absent.part")


def test_packages_that_only_report_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert protocol.REPORTING_PACKAGES == lazy.REPORTING_PACKAGES
    for hide in (lazy.hide_reporting_packages, protocol.hide_reporting_packages):
        monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
        hide()
        with pytest.raises(ImportError):
            importlib.import_module("openvino_telemetry")


def without_home(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """What a container is like that runs as a number without a name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("EDGESEG_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(lazy.tempfile, "gettempdir", lambda: str(temporary))
    passwords = SimpleNamespace(getpwuid=lambda number: {}[number])
    monkeypatch.setitem(sys.modules, "pwd", passwords)


def test_who_has_no_home_gets_a_folder_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_home(monkeypatch, tmp_path)
    assert not lazy.has_home()
    home = tmp_path / f"edgeseg-home-{os.getuid()}"
    assert cache_root() == home / ".cache" / "edgeseg"
    assert home.stat().st_mode & 0o777 == 0o700
    lazy.prepare_environment()
    assert Path.home() == home
    assert cache_root() == home / ".cache" / "edgeseg"


def test_a_home_that_does_not_exist_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_home(monkeypatch, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "nonexistent"))
    lazy.prepare_environment()
    assert Path.home() == tmp_path / f"edgeseg-home-{os.getuid()}"
    assert not (tmp_path / "nonexistent").exists()


@pytest.mark.parametrize("kind", ["file", "link", "open to all"])
def test_a_folder_of_others_is_not_taken_for_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    without_home(monkeypatch, tmp_path)
    home = tmp_path / f"edgeseg-home-{os.getuid()}"
    if kind == "file":
        home.write_text("")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        home.symlink_to(tmp_path / "elsewhere")
    else:
        home.mkdir()
        home.chmod(0o777)
    with pytest.raises(UsageError, match="Name a folder with EDGESEG_CACHE_DIR"):
        cache_root()


def test_a_backend_is_imported(backends: Path) -> None:
    (backends / "engine.py").write_text("speed = 3\n")
    assert require("engine", purpose="Building an engine").speed == 3


def test_a_part_of_a_backend_is_imported(backends: Path) -> None:
    (backends / "engine").mkdir()
    (backends / "engine" / "__init__.py").touch()
    (backends / "engine" / "part.py").write_text("speed = 4\n")
    assert require("engine.part", purpose="Building an engine").speed == 4


@pytest.mark.usefixtures("backends")
def test_a_missing_backend_names_its_extra() -> None:
    with pytest.raises(MissingBackendError) as caught:
        require("absent", purpose="Building an engine")
    assert str(caught.value) == (
        "Building an engine needs the package 'absent-dist', which is not installed. "
        "Install it with: pip install 'edgeseg[intel]'"
    )


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_a_backend_that_does_not_load_is_to_be_reinstalled(backends: Path, error: str) -> None:
    (backends / "engine.py").write_text(f"raise {error}('libcuda.so.1: no such file')\n")
    with pytest.raises(MissingBackendError, match="does not load") as caught:
        require("engine", purpose="Building an engine")
    for words in ("'engine-dist'", "libcuda.so.1", "'edgeseg[intel]' --force-reinstall"):
        assert words in str(caught.value)


def test_a_missing_part_of_a_backend_is_to_be_reinstalled(backends: Path) -> None:
    (backends / "engine.py").touch()
    with pytest.raises(MissingBackendError, match=r"engine\.part.*--force-reinstall"):
        require("engine.part", purpose="Building an engine")


@pytest.mark.parametrize(
    ("installed", "provider"),
    [
        (("engine", "second", "third"), "engine"),
        (("third", "second"), "second"),
        (("third",), "third"),
        ((), "engine"),  # the one to be installed
    ],
)
def test_a_package_that_does_the_same_is_taken_where_the_first_is_missing(
    backends: Path, monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], provider: str
) -> None:
    monkeypatch.setitem(lazy.ALTERNATIVES, "engine", ("second", "third"))
    for name in installed:
        (backends / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    assert provider_of("engine") == provider


def test_a_package_without_alternatives_provides_itself() -> None:
    assert provider_of("numpy") == "numpy"
    assert provider_of("no_such_package") == "no_such_package"


def test_a_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lazy.BACKENDS, "PIL", ("pillow", "intel"))  # two names, as lightning_fabric
    assert installed_version("PIL") == importlib.metadata.version("pillow")
    assert installed_version("numpy") == np.__version__
    assert installed_version("no_such_package") is None


def test_the_install_command_is_quoted_for_the_shell() -> None:
    assert install_command("monai") == "pip install 'edgeseg[train]'"


def test_a_package_of_a_plug_in_is_installed_by_its_own_name() -> None:
    assert install_command("coremltools") == "pip install coremltools"
    with pytest.raises(MissingBackendError, match="pip install coremltools_not_there"):
        require("coremltools_not_there", purpose="A plug-in")


def test_an_attribute_is_imported_when_it_is_asked_for() -> None:
    get_attribute = attributes_on_demand("json", JSONDecodeError="decoder", Lost="no_such_part")
    assert get_attribute("JSONDecodeError") is json.decoder.JSONDecodeError
    with pytest.raises(ModuleNotFoundError, match=r"json\.no_such_part"):
        get_attribute("Lost")
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'other'"):
        get_attribute("other")
