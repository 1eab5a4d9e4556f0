"""Names stand for places; other packages add theirs by entry point."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeseg.errors import EdgesegError, UnknownNameError
from edgeseg.registry import Registry

GROUP = "edgeseg.tests.fruit"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package `orchard` with a class Pear and the given entry points."""

    def install(**entries: str) -> None:
        metadata = tmp_path / "orchard-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\n")
        lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        (tmp_path / "orchard.py").write_text("class Pear:\n    pass\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("orchard", None)


def make_registry() -> Registry:
    return Registry("fruit", {"apple": "no_such_module:Apple", "path": "pathlib:Path"}, GROUP)


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    registry = make_registry()
    assert registry.names() == ("apple", "path")  # though the module of apple does not exist
    assert registry.find("path") is Path


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError) as caught:
        make_registry().find("aple")
    expected = "Unknown fruit 'aple'. Did you mean apple? Available: apple, path."
    assert str(caught.value) == expected


def test_another_package_adds_a_name(install: Install) -> None:
    install(pear="orchard:Pear")
    registry = make_registry()
    assert registry.names() == ("apple", "path", "pear")
    assert "orchard" not in sys.modules
    assert registry.find("pear").__name__ == "Pear"


def test_a_taken_name_is_an_error(install: Install) -> None:
    install(path="orchard:Pear")
    with pytest.raises(EdgesegError, match="Uninstall one of the two packages") as caught:
        make_registry().names()
    for words in ("fruit 'path'", "orchard:Pear", "taken by pathlib:Path"):
        assert words in str(caught.value)


@pytest.mark.parametrize("place", ["orchard_missing:Pear", "orchard:Plum"])
def test_a_broken_package_is_named(install: Install, place: str) -> None:
    install(plum=place)
    with pytest.raises(EdgesegError, match=place):
        make_registry().find("plum")


def test_the_given_names_are_copied() -> None:
    places = {"path": "pathlib:Path"}
    registry = Registry("fruit", places, GROUP)
    places["more"] = "pathlib:PurePath"
    assert registry.names() == ("path",)
