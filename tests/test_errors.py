"""The error tree is what its docstring draws, and an unknown name helps on."""

from __future__ import annotations

import inspect
import re

import pytest

from edgeseg import errors
from edgeseg.errors import (
    EdgesegError,
    InterruptedCommandError,
    OutputInUseError,
    UnknownNameError,
    UsageError,
    reason_of,
)

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if value.__module__ == errors.__name__
]


def test_the_docstring_names_every_error() -> None:
    named = set(re.findall(r"\w+Error\b", errors.__doc__ or ""))
    assert named == {error.__name__ for error in CLASSES}


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_an_edgeseg_error_with_its_exit_code(error: type[EdgesegError]) -> None:
    assert issubclass(error, EdgesegError)
    codes = {UsageError: 2, InterruptedCommandError: 130}
    own = [code for kind, code in codes.items() if issubclass(error, kind)]
    assert error.exit_code == (own or [1])[0]


def test_wrong_requests_are_usage_errors() -> None:
    assert issubclass(UnknownNameError, UsageError)
    assert issubclass(OutputInUseError, UsageError)


def test_a_mistyped_name_gets_a_suggestion() -> None:
    error = UnknownNameError("target", "jetsn", ["jetson", "intel"])
    expected = "Unknown target 'jetsn'. Did you mean jetson? Available: intel, jetson."
    assert str(error) == expected


def test_a_far_name_gets_the_list_only() -> None:
    error = UnknownNameError("model", "xyz", iter(["unet", "egeunet"]))
    assert str(error) == "Unknown model 'xyz'. Available: egeunet, unet."


def test_upper_case_gets_a_suggestion() -> None:
    assert "Did you mean fp32?" in str(UnknownNameError("precision", "FP32", ["fp32", "int8"]))
    assert "Did you mean EGE?" in str(UnknownNameError("model", "ege", ["EGE", "ulite"]))


def test_an_owner_is_the_subject() -> None:
    of_a_runtime = UnknownNameError("precision", "fp16", ["fp32"], "runtime openvino")
    assert str(of_a_runtime).startswith("Runtime openvino has no precision 'fp16'. ")
    assert str(UnknownNameError("recipe", "fast", [], "egeunet")).startswith("egeunet has no ")


def test_an_empty_list_says_none() -> None:
    assert str(UnknownNameError("recipe", "fast", [])) == "Unknown recipe 'fast'. Available: none."


def test_a_quoted_reason_is_one_short_line() -> None:
    assert reason_of(ValueError("no such\n   operator")) == "no such operator"
    assert len(reason_of(ValueError("word " * 1000))) <= 400


def test_a_message_is_bounded_and_moves_no_cursor() -> None:
    text = str(UsageError(f"There is no {'x' * 90_000}\x1b[2J\ud800. Name another one."))
    assert len(text) < 2_000
    assert text.startswith("There is no xxx")
    assert text.endswith("x\\x1b[2J\\ud800. Name another one.")
    assert str(UsageError("Zwei Sätze.\nUnd\u202f noch")) == "Zwei Sätze.\nUnd\\u202f noch"
