"""What people write: specs, command lines, calls of the Python interface."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from guard import FaultError, fault_of_message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutations import HOSTILE_TEXTS, HOSTILE_VALUES, mutate_bytes

from edgeseg.models import find_model

Action = Callable[[], object]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def drawn(strategy: st.SearchStrategy[Any], count: int, number: int) -> list[Any]:
    """Examples of a strategy, the same in every run."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def toml_of(value: Any) -> str:
    """A value as TOML writes it; what TOML cannot hold becomes text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml_of, value))}]"
    if isinstance(value, dict):
        parts = (f"{json.dumps(str(name))} = {toml_of(one)}" for name, one in value.items())
        return f"{{{', '.join(parts)}}}"
    return json.dumps("None" if value is None else str(value))


class Specs:
    """TOML files that describe a network."""

    SOUND: dict[str, Any] = {
        "title": "two layers", "classes": ["background", "disc"], "channels": 1,
        "returns": "logits", "height": 16, "width": 24, "stride": 8,
        "normalization": {"kind": "mean_std", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
        "arguments": {"width": 4},
    }  # fmt: skip
    NUMBERS = (0, -1, 1, 7, 2**31, 2**62, 10**30, 16.0, float("nan"), float("inf"), True, "16")

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inputs" / "spec.toml"
        sys.path.insert(0, str(folder.parent / "material"))
        self.values = drawn(PLAIN, 200, 1)

    def make(self, random: Random) -> Action:
        record = json.loads(json.dumps(self.SOUND))
        for _ in range(random.choice((1, 1, 2))):
            holder = random.choice((record, record, record["normalization"], record["arguments"]))
            name = random.choice([*holder, "output", "extra", "low", "high"])
            pools = (self.NUMBERS, self.values, HOSTILE_VALUES)
            if holder is record and name in ("normalization", "arguments"):
                continue
            holder[name] = random.choice(random.choice(pools))
        text = "".join(f"{json.dumps(name)} = {toml_of(one)}\n" for name, one in record.items())
        content = text.encode(errors="surrogatepass")
        kind = random.randrange(12)
        if kind == 0:
            content = mutate_bytes(content, random)
        elif kind == 1:
            content += b"a = " + b"[" * 30_000
        elif kind == 2:
            content += b"title = 1\n"
        self.path.write_bytes(content)
        place = "hostile_net:Net"
        if random.random() < 0.1:
            place = random.choice((f"hostile_net:{random.choice(HOSTILE_TEXTS)}", "os:system", ":"))
        return lambda: find_model(place, self.path)


class Arguments:
    """Command lines, in this process. What would take long lacks its data."""

    COMMANDS = (
        "build", "bench", "sweep", "verify", "predict", "calibration-study", "train", "distill",
        "distill-study", "adapt", "evaluate", "models", "doctor", "cache", "plan", "",
    )  # fmt: skip
    OPTIONS = (
        "--model", "--target", "--precision", "--output", "-o", "-p", "-m", "-t", "--size",
        "--weights", "--spec", "--data", "--threads", "--runs", "--images", "--json", "--prune",
        "--check", "--overwrite", "--option", "--method", "--method-option", "--split", "--labels",
        "--epochs", "--batch-size", "--tuning", "--toolkit", "--device", "--gallery", "--compare",
        "--json-file", "--max-change", "--max-flips", "--min-agreement", "--search-seconds",
        "--metrics", "--accept-uncertain", "--calibration-images", "--resume",
        "--student", "--teacher", "--runtime", "--seed",
    )  # fmt: skip
    # With these the work would be in earnest, or asks another machine.
    NEEDS_DATA = ("build", "sweep", "calibration-study", "train", "distill", "distill-study",
                  "adapt", "evaluate", "bench")  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.inputs = folder / "inputs"
        material = folder.parent / "material"
        (self.inputs / "empty").mkdir(exist_ok=True)
        self.words = [
            *map(str, (material / "fp32", material / "int8", material / "spec.toml", self.inputs)),
            "egeunet", "ulite", "intel", "onnxruntime", "int8", "fp32", "256x256", "1", "0.5",
            "all", "show", "diff", "hostile_net:Net", "a=b", "test", "loss=x", "-", "--", "-1",
            "1e999", "nan", "10" * 40, "99999x99999", "adb://x", "missing",
            *HOSTILE_TEXTS,
        ]  # fmt: skip
        self.texts = drawn(st.text(max_size=40), 200, 2)

    def make(self, random: Random) -> Action:
        command = random.choice(self.COMMANDS)
        words = [command] if command else []
        for _ in range(random.randrange(6)):
            pool = random.choice((self.OPTIONS, self.OPTIONS, self.words, self.words, self.texts))
            words.append(random.choice(pool))
        if command in self.NEEDS_DATA:
            words += ["--data", str(self.inputs / "empty")]
        # What a system hands over holds no zero, and bytes that are no text as surrogates.
        words = [
            word.replace("\0", "").encode(errors="surrogatepass").decode(errors="surrogateescape")
            for word in words
        ]
        words = [word for word in words if "ssh://" not in word and "adb://" not in word]
        return lambda: self._run(words)

    def _run(self, words: list[str]) -> None:
        from edgeseg import cli

        log = self.inputs / "stderr"
        with log.open("w", errors="backslashreplace") as stream:
            before, arguments = sys.stderr, sys.argv
            sys.stderr, sys.argv = stream, ["edgeseg", *words]
            code: Any = 0
            try:
                with contextlib.redirect_stdout(stream):
                    cli.main()
            except SystemExit as error:
                code = error.code or 0
            finally:
                sys.stderr, sys.argv = before, arguments
        said = log.read_text(errors="replace")
        if code not in (0, 1, 2):
            raise FaultError(f"exit code {code}: {words}: {said[-300:]}")
        for sign in ("Internal error", "Traceback (most recent call last)"):
            if sign in said:
                raise FaultError(f"{words}: {said[said.index(sign) :][:600]}")
        for line in said.splitlines():
            if line.startswith("Error: ") and fault_of_message(line):
                raise FaultError(f"{words}: {fault_of_message(line)}")


class Calls:
    """Calls of the Python interface with what is no image, path, name or number."""

    def __init__(self, folder: Path) -> None:
        import edgeseg

        self.material = folder.parent / "material"
        self.bundle = edgeseg.load(self.material / "fp32")
        self.api = edgeseg
        self.output = folder / "inputs" / "out"
        self.empty = folder / "inputs" / "empty"
        self.empty.mkdir(exist_ok=True)
        self.images = (
            None, 3, "", "nothing.png", [], [[1, 2], [3]], object(), np.zeros((2, 2)), {},
            b"\x89PNG", np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8),
            np.zeros((4, 4, 3), object), np.zeros((4, 4, 3), bool), np.array("x"),
            "a\0b", Path("\ud800"), os.devnull, "/",
            np.ma.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8), "a" * 5_000, 1.5, True,
        )  # fmt: skip

    def make(self, random: Random) -> Action:
        value: Any = random.choice((*self.images, *HOSTILE_VALUES))
        kind = random.randrange(5)
        if kind <= 1:
            return lambda: self.bundle.predict(value)
        if kind == 2:
            return lambda: self.api.load(value)
        if kind == 3:
            given: dict[str, Any] = {
                "model": "ulite", "target": "onnxruntime", "precision": "fp32",
                "output": self.output, "data": self.empty, "progress": False,
            }  # fmt: skip
            names = (*given, "size", "options", "weights", "spec", "calibration_images", "method")
            given[random.choice([name for name in names if name not in ("data", "progress")])] = (
                value
            )
            return lambda: self.api.build(**given)
        settings = {random.choice(("split", "size", "metrics")): value}
        return lambda: self.api.evaluate("ulite", data=self.empty, progress=False, **settings)
