from __future__ import annotations

import pytest
from rich.table import Table

from edgeseg.cli.terminal.console import (
    parse_counts,
    parse_options,
    parse_size,
    print_error,
    print_note,
    print_table,
)
from edgeseg.errors import UsageError


def test_options_are_split_at_the_first_equals_sign() -> None:
    words = ["workers=3", "flags=a=b", "device="]
    assert parse_options(words) == {"workers": "3", "flags": "a=b", "device": ""}
    assert parse_options([]) == {}


@pytest.mark.parametrize("word", ["workers", "=3", "", "="])
def test_option_without_name_or_value_shows_the_form(word: str) -> None:
    with pytest.raises(UsageError, match=rf"--option {word} is no option\. Write NAME=VALUE"):
        parse_options(["device=0", word])


def test_option_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--option workers was given twice\. Give it once"):
        parse_options(["workers=3", "device=0", "workers=3"])


def test_size_is_height_times_width() -> None:
    assert parse_size("128x256") == (128, 256)
    assert parse_size("128X256") == (128, 256)
    assert parse_size(None) is None


@pytest.mark.parametrize("text", ["", "256", "x256", "256x", "0x256", "256x-1", "1.5x2"])
def test_what_is_no_size_shows_the_form(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--size {text} is no size\..*such as 256x256"):
        parse_size(text)


def test_largest_size_is_named() -> None:
    assert parse_size("8192x32") == (8192, 32)
    with pytest.raises(UsageError, match="at most 8192 pixels"):
        parse_size("32x8193")


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[bold]a:b:c"  # :b: is an emoji's name, [bold] is markup, to rich
    table = Table("name")
    table.add_row(name)
    print_table(table)
    print_note(name)
    print_error(name)
    printed = capsys.readouterr()
    assert name in printed.out
    assert printed.err.splitlines() == [name, f"Error: {name}"]


def test_counts_are_whole_numbers() -> None:
    assert parse_counts("2,4", "--sweep-threads") == (2, 4)
    for text in ("", "two", "2,", "2.5", "-1"):
        with pytest.raises(UsageError, match=r"is no whole number\. Write --sweep-threads 2,4"):
            parse_counts(text, "--sweep-threads")
