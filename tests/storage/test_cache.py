"""Results are found again by what they were made from, and only whole ones."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import edgeseg
from edgeseg.storage import cache
from edgeseg.storage.atomic import _host
from edgeseg.storage.cache import (
    COMPLETE,
    DAY_S,
    cache_root,
    check_results,
    content_key,
    discard,
    get_or_make,
    kept_results,
    prune,
    sealed,
    take_damaged,
)

RECORD = {"weights": "a1b2", "size": [256, 256]}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fresh_digest() -> Iterator[None]:
    """Forget the hash of the code before and after a test that changes it."""
    cache.code_digest.cache_clear()
    yield
    cache.code_digest.cache_clear()


class Maker:
    """Writes how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "result").write_text(str(self.calls))


def test_the_second_time_nothing_is_made(own_cache: Path) -> None:
    make = Maker()
    first, was_there = get_or_make("onnx", RECORD, make)
    assert not was_there
    assert first.is_relative_to(own_cache / "onnx")
    assert get_or_make("onnx", RECORD, make) == (first, True)
    assert make.calls == 1
    assert (first / "result").read_text() == "1"


@pytest.mark.usefixtures("own_cache")
def test_another_record_or_kind_is_another_result() -> None:
    make = Maker()
    folders = {
        get_or_make(kind, record, make)[0]
        for kind in ("onnx", "bundles")
        for record in (RECORD, RECORD | {"size": [256, 128]})
    }
    assert len(folders) == make.calls == 4


def test_a_failure_keeps_nothing(own_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        get_or_make("onnx", RECORD, fail)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []
    folder, was_there = get_or_make("onnx", RECORD, Maker())
    assert not was_there
    assert not (folder / "half").exists()


@pytest.mark.usefixtures("own_cache")
def test_without_the_cache_the_result_is_made_anew_and_kept() -> None:
    make = Maker()
    get_or_make("onnx", RECORD, make)
    folder, was_there = get_or_make("onnx", RECORD, make, enabled=False)
    assert not was_there
    assert (folder / "result").read_text() == "2"
    assert get_or_make("onnx", RECORD, make) == (folder, True)


@pytest.mark.usefixtures("own_cache")
def test_a_failed_renewal_keeps_the_old_result() -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError("out of memory")

    folder, _ = get_or_make("onnx", RECORD, Maker())
    with pytest.raises(RuntimeError, match="out of memory"):
        get_or_make("onnx", RECORD, fail, enabled=False)
    assert get_or_make("onnx", RECORD, fail) == (folder, True)


@pytest.mark.usefixtures("own_cache")
def test_an_incomplete_result_is_made_anew() -> None:
    make = Maker()
    folder, _ = get_or_make("onnx", RECORD, make)
    (folder / cache.COMPLETE).unlink()
    assert get_or_make("onnx", RECORD, make) == (folder, False)
    assert (folder / "result").read_text() == "2"


@pytest.mark.usefixtures("own_cache")
def test_a_discarded_result_is_made_anew() -> None:
    make = Maker()
    folder, _ = get_or_make("onnx", RECORD, make)
    discard(folder)
    discard(folder)  # nothing there is no error
    assert get_or_make("onnx", RECORD, make) == (folder, False)


@pytest.mark.usefixtures("own_cache")
def test_another_process_may_finish_the_same_result_first() -> None:
    def make(folder: Path) -> None:
        get_or_make("onnx", RECORD, Maker())
        (folder / "result").write_text("ours")

    folder, _ = get_or_make("onnx", RECORD, make)
    # Someone may be reading theirs, and it is as good as ours.
    assert (folder / "result").read_text() != "ours"


def test_the_rest_of_a_removal_cut_short_is_no_result() -> None:
    folder, _ = get_or_make("onnx", RECORD, Maker())
    (folder / ".complete").unlink()
    (folder / "result").write_text("half of it")
    again, was_there = get_or_make("onnx", RECORD, Maker())
    assert not was_there
    assert (again / "result").read_text() != "half of it"


def test_the_order_of_a_record_does_not_matter() -> None:
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})


def test_every_value_of_a_record_matters() -> None:
    records = [{}, {"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {"a": [1]}, {"a": None}]
    assert len({content_key(record) for record in records}) == len(records)


def test_what_is_no_json_is_no_record() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        content_key({"path": Path("x")})


def test_another_toolchain_gives_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_key(RECORD)
    newer = cache.toolchain_versions() | {"numpy": "99.0"}
    monkeypatch.setattr(cache, "toolchain_versions", lambda: newer)
    assert content_key(RECORD) != before


def test_the_toolchain_names_what_is_installed() -> None:
    versions = cache.toolchain_versions()
    assert versions["numpy"] == np.__version__
    assert None not in versions.values()
    if importlib.util.find_spec("tensorflow"):
        assert "tensorflow" in versions  # no command names it, and its converter writes bytes


def test_the_toolchain_names_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = SimpleNamespace(dist=SimpleNamespace(name="my-plugin", version="1.2"))
    found = SimpleNamespace(groups={"edgeseg.targets"}, select=lambda group: [plugin])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda: found)
    monkeypatch.syspath_prepend(tmp_path)
    assert cache.toolchain_versions()["my-plugin"] == "1.2"


@pytest.mark.usefixtures("fresh_digest")
def test_other_code_gives_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "cached_code" / "inner" / "step.py"
    source.parent.mkdir(parents=True)
    (tmp_path / "cached_code" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cache, "PACKAGE_FOLDERS", ("cached_code",))

    def key() -> str:
        cache.code_digest.cache_clear()
        return content_key(RECORD)

    source.write_text("scale = 2\n")
    before = key()
    assert key() == before
    source.write_text("scale = 3\n")
    changed = key()
    source.rename(source.with_name("move.py"))
    assert len({before, changed, key()}) == 3


def test_the_cache_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("EDGESEG_CACHE_DIR")
    assert cache_root() == tmp_path / "xdg" / "edgeseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / "home" / ".cache" / "edgeseg"


def age(folder: Path, days: float) -> None:
    """Let a result look as if it was last used so long ago."""
    then = time.time() - days * DAY_S
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))


def test_old_results_are_pruned_and_others_kept(own_cache: Path) -> None:
    make = Maker()
    old, used, new = (
        get_or_make("onnx", RECORD | {"name": name}, make)[0] for name in ("old", "used", "new")
    )
    age(old, 31)
    age(used, 31)
    assert get_or_make("onnx", RECORD | {"name": "used"}, make) == (used, True)
    foreign = own_cache / "onnx" / "notes"
    foreign.mkdir()
    age(foreign, 100)
    assert [one.folder for one in prune(30)] == [old]
    assert not old.exists()
    assert {one.folder for one in kept_results()} == {used, new}
    assert foreign.exists()
    assert prune(0) == []  # a command may be at work with them
    for folder in (used, new):
        age(folder, 0.5)
    assert {one.folder for one in prune(0)} == {used, new}
    assert kept_results() == []
    assert foreign.exists()


def test_what_others_keep_there_is_not_touched(own_cache: Path) -> None:
    others = own_cache / "overlay" / ("b" * 64)
    others.mkdir(parents=True)
    age(others, 100)
    engine = own_cache / "engines" / "0123456789abcdef-int8"
    engine.mkdir(parents=True)
    (engine / "engine.plan").write_bytes(bytes(10))
    age(engine, 100)
    assert [(one.kind, one.size_bytes) for one in prune(30)] == [("engines", 10)]
    assert others.exists()
    assert not engine.exists()


def test_a_result_that_vanishes_while_it_is_found_is_made_anew(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    folder, _ = get_or_make("onnx", RECORD, make)

    def look(path: Path) -> bool:
        discard(path)
        return True

    monkeypatch.setattr(cache, "_is_whole", look)
    assert get_or_make("onnx", RECORD, make) == (folder, False)
    assert folder.exists()
    assert make.calls == 2


def test_what_is_found_while_others_are_removed_stays(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        get_or_make("onnx", RECORD | {"name": name}, Maker())[0] for name in ("a", "b")
    )
    first, second = sorted((first, second))
    age(first, 40)
    age(second, 40)

    def discard_and_find(folder: Path) -> None:
        discard(folder)
        cache.mark_used(second / cache.COMPLETE)

    monkeypatch.setattr(cache, "discard", discard_and_find)
    assert [one.folder for one in prune(30)] == [first]
    assert second.exists()


def test_leftovers_of_killed_commands_are_pruned(own_cache: Path) -> None:
    folder, _ = get_or_make("onnx", RECORD, Maker())
    left = folder.with_name(f".{folder.name}.partial-{_host()}-{2**22 + 1}-00000000")
    running = folder.with_name(f".{folder.name}.partial-{_host()}-{os.getpid()}-00000000")
    for path in (left, running):
        path.mkdir()
    assert prune(30) == []
    assert not left.exists()
    assert running.exists()
    assert folder.exists()


def test_every_kind_that_is_kept_is_known() -> None:
    root = Path(edgeseg.__path__[0])
    calls = {
        kind
        for path in root.rglob("*.py")
        for kind in re.findall(r"get_or_make\(\s*\"([a-z-]+)\"", path.read_text())
    }
    assert calls == set(cache.KINDS) - {"tuning"}


def test_sizes_and_ages_are_told(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = get_or_make("onnx", RECORD, lambda made: write_bytes(made / "graph", 3_000_000))
    get_or_make("bundles", RECORD, Maker())
    age(folder, 2)
    run_command("cache")
    output = capsys.readouterr().out
    assert re.search(r"onnx\s.* 1 .* 3\.0 .* up to 2\.0", output)
    assert f"{own_cache}: 2 results, 3.0 MB" in output
    run_command("cache", "--prune", "1", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record["removed"]["results"] == 1
    assert list(record["kinds"]) == ["bundles"]


def test_an_empty_cache_is_no_error(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("cache", "--prune", "30")
    assert f"{own_cache}: 0 results, 0.0 MB" in capsys.readouterr().out


def write_bytes(path: Path, count: int) -> None:
    path.write_bytes(bytes(count))


def run_command(*words: str) -> None:
    from edgeseg.cli import app

    app(list(words), standalone_mode=False)


@pytest.mark.parametrize("part", ["", COMPLETE, "result", "../"])
@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link"])
@pytest.mark.usefixtures("own_cache")
def test_what_stands_in_the_place_of_a_result_is_replaced_and_told(part: str, kind: str) -> None:
    make = Maker()
    folder, _ = get_or_make("onnx", RECORD, make)
    place = folder / part if part != "../" else folder.parent
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    if kind == "file":
        place.write_text("{}")
    elif kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    take_damaged()
    kept_results()
    assert get_or_make("onnx", RECORD, make) == (folder, False)
    assert get_or_make("onnx", RECORD, make) == (folder, True)
    if (part, kind) != ("../", "folder"):  # an empty folder of results is none that is damaged
        assert len(take_damaged()) == 1


@pytest.mark.usefixtures("own_cache")
def test_a_check_removes_what_is_damaged_and_leaves_the_rest() -> None:
    whole, _ = get_or_make("onnx", RECORD, Maker())
    damaged, _ = get_or_make("onnx", RECORD | {"name": "other"}, Maker())
    next(path for path in damaged.iterdir() if path.name != COMPLETE).write_text("changed")
    search = cache_root() / "tuning" / ("a" * 64)
    search.mkdir(parents=True)
    (search / "good.json").write_text(json.dumps(sealed({"answer": 1})))
    (search / "bad.json").write_text(json.dumps(sealed({"answer": 1}) | {"answer": 2}))
    assert check_results() == (4, [damaged, search / "bad.json"])
    assert whole.is_dir()
    assert [path.name for path in search.iterdir()] == ["good.json"]
    assert check_results() == (2, [])
