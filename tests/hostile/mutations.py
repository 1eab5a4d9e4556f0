"""Changes of bytes and of JSON: small ones, as damage makes them, and what attackers write."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF)
WIDE = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80")
HOSTILE_TEXTS = (
    "", " ", "\0", "a\0b", "..", "../..", "/etc/passwd", "~", "-", "--help", "\x1b[2J", "\ud800",
    "a" * 70_000, "é\u0301", "\u202e", "%s%n", "{0.__class__}", "null", "NaN", "os:system",
    "C:\\x", "\n", "a/b", "__import__", "CON", "ﬁ",
)  # fmt: skip
HOSTILE_VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), [], {}, [[]], [None], {"": None},
    *HOSTILE_TEXTS,
)  # fmt: skip


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """A damaged copy: one to four changes."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        place = random.randrange(len(data)) if data else 0
        if random.random() < 0.5:  # headers decide most
            place = min(place, random.randrange(1, 64))
        length = random.choice((1, 2, 4, 16, 256))
        kind = random.randrange(8)
        if kind == 0:
            data[place : place + 1] = bytes([random.choice(EDGES)])
        elif kind == 1 and data:
            data[min(place, len(data) - 1)] ^= 1 << random.randrange(8)
        elif kind == 2:
            data[place : place + 4] = random.choice(WIDE)
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = random.randbytes(length)
        elif kind == 5:
            data[place:place] = data[place : place + length] * random.choice((1, 2, 50))
        elif kind == 6:
            del data[place:]
        else:
            data[place : place + length] = random.randbytes(length)
    return bytes(data)


def mutate_json(record: Any, random: Random) -> Any:
    """A copy with one to three values changed, dropped, doubled or added."""
    changed = copy.deepcopy(record)
    for _ in range(random.choice((1, 1, 2, 3))):
        holders = [one for one in _holders(changed) if one]
        if not holders:
            return random.choice(HOSTILE_VALUES)
        holder = random.choice(holders)
        key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        kind = random.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random.choice(HOSTILE_TEXTS)] = holder[key]
        elif kind == 2:
            holder[key] = deep(random.choice((5, 100, 900, 3_000)), random)
        elif kind == 3 and isinstance(holder[key], (int, float)):
            holder[key] = holder[key] * random.choice((-1, 10, 2**20, 1e30, 0))
        elif kind == 4 and isinstance(holder[key], str):
            text = holder[key]
            holder[key] = random.choice((text * 2, text[:-1], f"../{text}", text.upper()))
        else:
            holder[key] = copy.deepcopy(random.choice(HOSTILE_VALUES))
    return changed


def _holders(value: Any) -> list[Any]:
    found, rest = [], [value]
    while rest:
        one = rest.pop()
        if isinstance(one, (dict, list)):
            found.append(one)
            rest += one.values() if isinstance(one, dict) else one
    return found


class Raw(str):
    """Text that `hostile_json` writes as it is."""

    __slots__ = ()


def deep(levels: int, random: Random) -> Raw:
    """Lists or objects in each other."""
    if random.random() < 0.5:
        return Raw("[" * levels + "]" * levels)
    return Raw('{"a":' * levels + "0" + "}" * levels)


def hostile_json(value: Any, random: Random) -> bytes:
    """JSON as text, now and then with doubled keys or another encoding, or damaged."""
    text = _text_of(value)
    kind = random.randrange(12)
    if kind == 0 and text.startswith("{") and '":' in text:
        key, _, _ = text[1:].partition(":")
        text = f"{{{key}: null, {text[1:]}"
    if kind == 1:
        return text.encode("utf-16", errors="surrogatepass")
    content = text.encode(errors="surrogatepass")
    return mutate_bytes(content, random) if kind == 2 else content


def _text_of(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        parts = (f"{json.dumps(str(name))}: {_text_of(one)}" for name, one in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text_of, value))}]"
    return json.dumps(value)
