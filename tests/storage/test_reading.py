"""Text and JSON that come from anywhere are read, or refused in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeseg.storage import reading
from edgeseg.storage.reading import parse_json, read_json, read_text_file


def test_sound_json_comes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, "\\u00e9"], "b": {"a": true}}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None, "é"], "b": {"a": True}}


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    """Some editors write it."""
    (tmp_path / "a.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 101 + "]" * 101, "more than 100 deep"),
        ('{"a":' * 50_000 + "0" + "}" * 50_000, "more than 100 deep"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' twice"),
        ('{"a": "x\\u0000y"}', "text that is none"),
        ('{"\\ud800": 1}', "text that is none"),
        ("9" * 5_000, "digits"),
        ("{", "Expecting property name"),
    ],
)
def test_what_would_surprise_further_on_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


def test_a_hundred_levels_are_not_too_deep() -> None:
    value = parse_json("[" * 100 + "]" * 100)
    for _ in range(99):
        (value,) = value
    assert value == []


def test_what_is_no_file_of_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "large").write_bytes(b"x" * 3)
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="no file"):
            read_text_file(place)
    with pytest.raises(ValueError, match="not UTF-8 text from byte 3"):
        read_text_file(tmp_path / "latin")
    with pytest.raises(FileNotFoundError):
        read_text_file(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read_text_file(tmp_path)
    monkeypatch.setattr(reading, "MOST_BYTES", 2)
    with pytest.raises(ValueError, match="larger than"):
        read_text_file(tmp_path / "large")
