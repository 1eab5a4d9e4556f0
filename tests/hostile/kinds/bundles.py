"""What lies in bundles and in the cache: manifests, golden pairs, plans, graphs, journals."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import runpy
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from guard import FaultError
from mutations import HOSTILE_VALUES, Raw, deep, hostile_json, mutate_bytes, mutate_json

from edgeseg.api import Bundle
from edgeseg.bundle.bundle import MANIFEST_NAME
from edgeseg.pipeline.builder.earlier_tuning import read_tuning_record
from edgeseg.quantize.plan.files import PLAN_NAME, TENSORS_NAME, load_plan
from edgeseg.quantize.plan.report import compare_plans
from edgeseg.storage import cache
from edgeseg.tuning.timing_cache import TimingCache

Action = Callable[[], object]
IMAGE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def use_bundle(folder: Path) -> None:
    """What commands do with a bundle that somebody sent: look at it, check it, run it."""
    bundle = Bundle(folder)
    repr(bundle)
    bundle.verify()
    bundle.predict(IMAGE)


class _InBundle:
    """Works on a fresh copy of a sound bundle."""

    precision = "int8"

    def __init__(self, folder: Path) -> None:
        self.material = folder.parent / "material"
        self.sound = self.material / self.precision
        self.bundle = folder / "inputs" / "bundle"
        self.manifest = json.loads((self.sound / MANIFEST_NAME).read_text())

    def fresh(self) -> Path:
        if self.bundle.is_symlink() or self.bundle.is_file():
            self.bundle.unlink()
        shutil.rmtree(self.bundle, ignore_errors=True)
        shutil.copytree(self.sound, self.bundle)
        return self.bundle

    def write(self, name: str, content: bytes) -> None:
        """Replace a file, and name its checksum in the manifest, as an attacker does."""
        (self.bundle / name).write_bytes(content)
        record = json.loads(json.dumps(self.manifest))
        for file in record["files"]:
            if file["path"] == name:
                file["sha256"] = hashlib.sha256(content).hexdigest()
                file["size_bytes"] = len(content)
        (self.bundle / MANIFEST_NAME).write_text(json.dumps(record))


class Manifests(_InBundle):
    """Manifests that were changed, and folders that are not what they claim."""

    LIMITS = ("max_abs_diff", "max_flips_per_10k")
    SIZES = (0, -8, 8, 10**6, 2**31, 2**62, 10**40, 16.0, "16", True)

    def make(self, random: Random) -> Action:
        folder = self.fresh()
        place = folder / MANIFEST_NAME
        kind = random.randrange(10)
        if kind == 0:
            place.write_bytes(mutate_bytes(place.read_bytes(), random))
        elif kind == 1:
            self._unusual_place(place, random)
        elif kind == 2:
            record = json.loads(json.dumps(self.manifest))
            contract = record[random.choice(("input", "output"))]
            names = ["height", "width", "stride", "channels", "threshold", "resized_from"]
            for name in random.sample(names, 2):
                contract[name] = random.choice((*self.SIZES, [2**40, 2**40], None))
            place.write_bytes(hostile_json(record, random))
        elif kind == 3:
            record = json.loads(json.dumps(self.manifest))
            record["golden"][random.choice(self.LIMITS)] = random.choice(HOSTILE_VALUES)
            place.write_bytes(hostile_json(record, random))
        else:
            place.write_bytes(hostile_json(mutate_json(self.manifest, random), random))
        return lambda: use_bundle(folder)

    def _unusual_place(self, place: Path, random: Random) -> None:
        kind = random.randrange(6)
        place.unlink()
        if kind == 0:
            place.mkdir()
        elif kind == 1:
            os.mkfifo(place)
        elif kind == 2:
            place.symlink_to(random.choice(("/dev/zero", "/etc/passwd", MANIFEST_NAME)))
        elif kind == 3:
            place.write_bytes(b" " * 80_000_000 + b"{}")
        elif kind == 4:
            shutil.rmtree(self.bundle)
            self.bundle.symlink_to(random.choice((self.bundle, Path("/dev/null"))))
        else:
            place.write_bytes(b"")


class Golden(_InBundle):
    """Golden images and masks, and artefacts, whose checksums hold."""

    def make(self, random: Random) -> Action:
        folder = self.fresh()
        name = self.manifest["golden"][random.choice(("image", "mask"))]
        self.write(name, self._content((folder / name).read_bytes(), random))
        return lambda: use_bundle(folder)

    def _content(self, sound: bytes, random: Random) -> bytes:
        kind = random.randrange(6)
        if kind == 0:
            return mutate_bytes(sound, random)
        if kind == 1:
            array = random.choice(
                (
                    np.array([{"a": 1}], object), np.zeros((0, 4, 3), np.uint8), np.zeros(3),
                    np.zeros((1, 1, 16, 24), np.complex64), np.array("text"),
                    np.zeros((1, 1, 1, 1)),
                    np.full((1, 1, 16, 24), np.nan, np.float16), np.zeros((16, 24, 4), np.uint8),
                    np.zeros((1, 1, 16, 24), "datetime64[s]"), np.zeros((16, 24, 3), np.int64),
                    np.zeros((2, 2), [("a", "i4")]), np.zeros((1, 20_000, 3), np.uint8),
                )
            )  # fmt: skip
            stream = io.BytesIO()
            np.save(stream, array, allow_pickle=True)
            return stream.getvalue()
        if kind == 2:
            header = random.choice(
                (
                    "{'descr': '<f2', 'fortran_order': False, 'shape': (99999999999, 9999)}",
                    "{'descr': '<f2', 'fortran_order': False, 'shape': (-1, 4)}",
                    "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
                    "{'descr': '|V99999999', 'fortran_order': False, 'shape': (2**30,)}",
                    "{'descr': '<f2', 'shape': " + "(" * 3_000 + ")" * 3_000 + "}",
                    "__import__('os').system('touch owned')",
                    "{'descr': '<f2'}",
                    "[" * 60_000,
                )
            )
            return _npy(header) + b"\0" * 64
        if kind == 3:
            return b"\x93NUMPY" + bytes([random.randrange(5), 0]) + b"\xff" * 10 + sound[10:]
        if kind == 4:
            stream = io.BytesIO()
            np.savez(stream, a=np.zeros(3))
            return stream.getvalue()
        return random.choice((b"", b"\x80\x04.", b"PK\3\4", b"cos\nsystem\n(S'touch owned'\ntR."))


class Runners(Manifests):
    """The same manifests, read by the program that a bundle carries."""

    def make(self, random: Random) -> Action:
        super().make(random)
        return self._run

    def _run(self) -> None:
        folder = self.bundle
        stderr = io.StringIO()
        arguments, sys.argv = sys.argv, ["run.py", "--verify"]
        try:
            with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stderr):
                code = runpy.run_path(str(self.sound / "runner" / "run.py"))["main"].__globals__
                code["HERE"] = folder / "runner"
                ended = code["main"]()
        finally:
            sys.argv = arguments
        said = stderr.getvalue()
        if ended not in (0, 1) or (ended and not said.startswith(("Error: ", "FAILED: "))):
            raise FaultError(f"exit code {ended}: {said[-300:]}")


def _npy(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text


class Onnx(_InBundle):
    """ONNX graphs as artefacts whose checksums hold."""

    precision = "fp32"

    def make(self, random: Random) -> Action:
        import onnx

        folder = self.fresh()
        name = self.manifest["artifact"]["files"][0]
        sound = (folder / name).read_bytes()
        if random.random() < 0.5:
            self.write(name, mutate_bytes(sound, random))
            return lambda: use_bundle(folder)
        model = onnx.load_from_string(sound)
        kind = random.randrange(8)
        node = random.choice(list(model.graph.node))
        if kind == 0:
            node.op_type = random.choice(("", "If", "Loop", "Nothing", "a" * 9_000, "Identity"))
        elif kind == 1:
            del node.input[:]
        elif kind == 2:
            node.input[0] = node.output[0]
        elif kind == 3:
            tensor = random.choice(list(model.graph.initializer))
            tensor.dims[0] = random.choice((-1, 0, 2**40, 2**62))
        elif kind == 4:
            tensor = random.choice(list(model.graph.initializer))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            place = random.choice(("../../../../../../etc/passwd", "/dev/zero", "", "x" * 5_000))
            tensor.external_data.add(key="location", value=place)
        elif kind == 5:
            shape = model.graph.input[0].type.tensor_type.shape
            random.choice(list(shape.dim)).dim_value = random.choice((0, -1, 2**40))
        elif kind == 6:
            model.ir_version = random.choice((0, 2**40, -1))
        else:
            model.opset_import[0].version = random.choice((0, 1, 999, 2**40))
        self.write(name, model.SerializeToString())
        return lambda: use_bundle(folder)


class Plans(_InBundle):
    """Quantisation plans: read, compared, shown."""

    def make(self, random: Random) -> Action:
        folder = self.fresh() / "quantization"
        path, tensors = folder / PLAN_NAME, folder / TENSORS_NAME
        record = json.loads(path.read_text())
        kind = random.randrange(6)
        if kind == 0:
            tensors.write_bytes(mutate_bytes(tensors.read_bytes(), random))
        elif kind == 1:
            path.write_bytes(mutate_bytes(path.read_bytes(), random))
        elif kind == 2:
            record["schema_version"] = random.choice((1, *HOSTILE_VALUES))
            path.write_bytes(hostile_json(record, random))
        else:
            path.write_bytes(hostile_json(mutate_json(record, random), random))

        def use() -> None:
            compare_plans(load_plan(folder), load_plan(self.sound / "quantization"))

        return use


class Tunings(_InBundle):
    """Files that --tuning names."""

    RECORD: dict[str, Any] = {
        "candidate": {
            "precision": "fp32", "rewrites": ["fold"], "method": "", "method_options": [],
            "variant": "",
        },
        "identity": {"target": "onnxruntime", "runtime": "onnxruntime"},
        "machine": {"cpu": "x", "threads": 1},
        "constraints": {"max_change": {"dice_pooled": 0.005}, "min_agreement": None},
        "images": {"folder": "data", "splits": ["val"], "search": 2, "final": 2, "labelled": True},
        "plain": {"artifact_bytes": 1, "peak_rss_bytes": 2},
        "flips_per_10k": 0.5,
        "changes": {"dice_pooled": -0.001},
        "violation": "",
        "trials": [],
        "final": [],
        "skipped": 0,
        "search_seconds": 3.0,
    }  # fmt: skip

    def make(self, random: Random) -> Action:
        path = self.bundle.with_name("tuning.json")
        content = hostile_json(mutate_json(self.RECORD, random), random)
        path.write_bytes(mutate_bytes(content, random) if random.random() < 0.2 else content)

        def use() -> None:
            from edgeseg.tuning.candidate import Candidate

            Candidate.from_json(read_tuning_record(path).candidate)

        return use


class Journals:
    """Answers that a search kept: a damaged one is asked anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inputs" / "journal"

    def make(self, random: Random) -> Action:
        shutil.rmtree(self.folder, ignore_errors=True)
        question, answer = {"what": "flips"}, {"flips": 3, "names": ["a"]}
        TimingCache(self.folder).ask(question, lambda: answer)
        path = next(self.folder.iterdir())
        sound = json.loads(path.read_text())
        kind = random.randrange(5)
        if kind == 0:
            path.write_bytes(mutate_bytes(path.read_bytes(), random))
        elif kind == 1:
            path.unlink()
            random.choice((path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(path)))()
        elif kind == 2:
            sound["seconds"] = random.choice(HOSTILE_VALUES)
            path.write_bytes(hostile_json(sound, random))
        else:
            path.write_bytes(hostile_json(mutate_json(sound, random), random))

        def use() -> None:
            journal = TimingCache(self.folder)
            kept = journal.ask(question, lambda: answer)
            assert kept == answer, kept
            assert 0 <= journal.seconds < 1e6, journal.seconds

        return use


class CacheEntries:
    """Results in the cache that were changed: they are made anew."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache"

    def make(self, random: Random) -> Action:
        shutil.rmtree(self.root, ignore_errors=True)
        record = {"what": "graph"}
        folder, _ = cache.get_or_make("onnx", record, _make)
        target = random.choice(
            (folder / cache.COMPLETE, folder / "graph", folder / "inner" / "part", folder)
        )
        self._spoil(target, random)
        use_prune = random.random() < 0.3

        def use() -> None:
            cache.kept_results()
            if use_prune:
                cache.prune(0)
            found, _ = cache.get_or_make("onnx", record, _make)
            assert (found / "graph").read_bytes() == b"nodes"
            assert (found / "inner" / "part").read_bytes() == b"weights"
            assert not list((self.root / "onnx").glob(".*")), "leftovers"

        return use

    def _spoil(self, target: Path, random: Random) -> None:
        kind = random.randrange(7)
        if kind == 0 and target.is_file():
            target.write_bytes(mutate_bytes(target.read_bytes(), random))
            return
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        if kind == 1:
            target.mkdir()
        elif kind == 2:
            os.mkfifo(target)
        elif kind == 3:
            target.symlink_to(random.choice((target, Path("/nowhere"), Path("/dev/zero"))))
        elif kind == 4:
            target.write_bytes(b"a file")
        elif kind == 5:
            text = deep(random.choice((10, 50_000)), random)
            target.write_bytes(hostile_json(random.choice((text, Raw("{}"), None)), random))


def _make(folder: Path) -> None:
    (folder / "graph").write_bytes(b"nodes")
    (folder / "inner").mkdir()
    (folder / "inner" / "part").write_bytes(b"weights")
