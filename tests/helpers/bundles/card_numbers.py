"""Whether each number of a text is one of some records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

# What a card says whatever was measured.
PHRASES = (
    r"95 %",
    r"10,000 pixels",
    r"P-\d+",
    r"FP32|fp32|fp16|INT8|int8|bf16|BF16|HD95",
    r"`[0-9a-f]{12}`",
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?(?![\w])")


def numbers_of(value: Any) -> Iterator[float]:
    """All numbers of a record, those in its texts too."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, str):
        yield from (float(word.replace(",", "")) for word in words_of(value))
    elif isinstance(value, dict):
        for part in value.values():
            yield from numbers_of(part)
    elif isinstance(value, (list, tuple)):
        yield float(len(value))
        for part in value:
            yield from numbers_of(part)


def words_of(text: str) -> list[str]:
    """Numbers as a text writes them, both ends of a range among them."""
    return [word.rstrip(",") for word in NUMBER.findall(text.replace("..", " to "))]


def unknown_numbers(text: str, records: Sequence[Any]) -> list[str]:
    """Numbers of a text that are no rounding of any number of the records."""
    for phrase in PHRASES:
        text = re.sub(phrase, " ", text)
    text = text.replace("..", " to ")
    known = [number for record in records for number in numbers_of(record)]
    found = []
    for match in re.finditer(NUMBER.pattern + r"(?P<percent> ?%)?", text):
        word = match[0].rstrip(" %").rstrip(",").replace(",", "")
        scale = 100 if match["percent"] else 1
        if not any(_rounds_to(scale * number, word) for number in known):
            found.append(word)
    return found


def _rounds_to(number: float, word: str) -> bool:
    if "e" in word:
        decimals = len(word.partition("e")[0].partition(".")[2])
        return f"{number:.{decimals}e}" == word.lstrip("+")
    decimals = len(word.partition(".")[2])
    # Half a digit to either side; ends are rounded to even.
    return abs(number - float(word)) <= 0.5000001 * 10**-decimals and (
        decimals > 0 or number == float(word) or abs(number) % 1 > 0
    )
