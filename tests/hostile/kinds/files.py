"""Images, masks, data folders and checkpoints."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from mutations import HOSTILE_TEXTS, HOSTILE_VALUES, Raw, deep, hostile_json, mutate_bytes
from PIL import Image, features

from edgeseg.data.folder import open_folder
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.models.weights import load_weights

Action = Callable[[], object]


def image_files(is_mask: bool) -> dict[str, bytes]:
    """Small sound files by suffix, several for TIFF."""
    draw = np.random.default_rng(0)
    rgb = Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    if is_mask:
        rgb = Image.fromarray(np.repeat(np.eye(20, 24, dtype=np.uint8)[..., None] * 255, 3, 2))
    grey = rgb.convert("L")
    deep_grey = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    ways: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("png", rgb, "PNG", {}),
        ("pal.png", rgb.convert("P"), "PNG", {"transparency": 0}),
        ("one.png", grey.convert("1"), "PNG", {}),
        ("deep.png", deep_grey, "PNG", {}),
        (
            "jpg",
            rgb,
            "JPEG",
            {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"},
        ),
        ("bmp", rgb, "BMP", {}),
        ("webp", rgb, "WEBP", {}),
        ("gif", grey, "GIF", {}),
        ("plain.tif", rgb, "TIFF", {}),
        ("deep.tif", deep_grey, "TIFF", {}),
        ("cmyk.tif", rgb.convert("CMYK"), "TIFF", {}),
        ("lzw.tif", rgb, "TIFF", {"compression": "tiff_lzw"}),
        ("deflate.tif", rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tif", rgb, "TIFF", {"compression": "jpeg"}),
        ("group4.tif", grey.convert("1"), "TIFF", {"compression": "group4"}),
        ("pages.tif", grey, "TIFF", {"save_all": True, "append_images": [grey]}),
        ("ppm", rgb, "PPM", {}),
        ("tga", rgb, "TGA", {}),
        ("jp2", rgb, "JPEG2000", {}),
        ("ico", rgb, "ICO", {}),
        ("pcx", rgb, "PCX", {}),
        ("dds", rgb, "DDS", {}),
        ("sgi", rgb, "SGI", {}),
        ("im", rgb, "IM", {}),
    ]
    if features.check("avif"):
        ways.append(("avif", rgb, "AVIF", {}))
    files = {}
    for suffix, image, kind, settings in ways:
        stream = io.BytesIO()
        try:
            image.save(stream, kind, **settings)
        except (OSError, ValueError, KeyError):  # built without it
            continue
        files[suffix] = stream.getvalue()
    files["bomb.png"] = _bomb(files["png"], 2**31 - 1, 2**31 - 1)
    files["wide.png"] = _bomb(files["png"], 60_000, 3_000)
    return files


def _bomb(png: bytes, width: int, height: int) -> bytes:
    """A PNG that claims another size."""
    import zlib

    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


class Images:
    """Image files, under their own suffix or another."""

    is_mask = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inputs"
        self.files = image_files(self.is_mask)

    def write(self, random: Random) -> Path:
        suffix, content = random.choice(list(self.files.items()))
        if random.random() < 0.97:
            content = mutate_bytes(content, random)
        if random.random() < 0.2:
            suffix = random.choice(("png", "jpg", "tif", "webp"))
        path = self.folder / f"image.{suffix}"
        path.write_bytes(content)
        return path

    def make(self, random: Random) -> Action:
        path = self.write(random)
        return lambda: read_image(path)


class Masks(Images):
    """The same as masks of two, three or very many classes."""

    is_mask = True

    def make(self, random: Random) -> Action:
        path, classes = self.write(random), random.choice((2, 3, 255))
        return lambda: read_mask(path, classes)


class Folders:
    """Data folders: names, lists, links, files in place of folders."""

    NAMES = (
        b"a.png", b"b.png", b"\xff\xfe.png", b"c\n.png", b"-o.png", b" .png", b".png", b"a.PNG",
        "é.png".encode(), "é.png".encode(), b"x" * 250 + b".png", b"a.tar.png", b"%s.png",
        b"\x1b[2Ja.png", b"a\tb.png", b"..png", b"...png", b"a_mask.png", b"a_segmentation.png",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inputs" / "data"
        self.files = image_files(is_mask=True)

    def make(self, random: Random) -> Action:
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in (b"images", b"masks"):
            place = os.path.join(os.fsencode(self.folder), part)
            os.makedirs(place)
            for name in {random.choice(self.NAMES) for _ in range(random.randrange(6))}:
                self._add(os.path.join(place, name), random)
        for split in ("train", "val", "test"):
            if random.random() < 0.4:
                (self.folder / f"{split}.txt").write_bytes(self._list(random))
        splits = random.choice(((), ("train",), ("val", "test")))
        labelled = random.random() < 0.7

        def use() -> None:
            for pair in open_folder(self.folder, splits, labelled=labelled):
                pair.read_image()
                if pair.mask_path is not None:
                    pair.read_labels(2)

        return use

    def _add(self, path: bytes, random: Random) -> None:
        kind = random.randrange(12)
        if kind == 0:
            os.mkdir(path)
        elif kind == 1:
            os.symlink(random.choice((path, b"/nowhere", b"..")), path)
        elif kind == 2:
            os.mkfifo(path)
        else:
            content = self.files["png"]
            with open(path, "wb") as file:
                file.write(mutate_bytes(content, random) if kind == 3 else content)

    def _list(self, random: Random) -> bytes:
        lines = [random.choice(self.NAMES) for _ in range(random.randrange(4))]
        lines = [line[:-4] if random.random() < 0.5 else line for line in lines]
        if random.random() < 0.3:
            lines.append(random.choice(HOSTILE_TEXTS).encode(errors="surrogatepass"))
        content = random.choice((b"\n", b"\r\n", b"\r")).join(lines)
        return mutate_bytes(content, random) if random.random() < 0.2 else content


class Checkpoints:
    """Checkpoints of a network of two layers, as torch and safetensors write them, and worse."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.torch import save
        from torch import nn

        torch.manual_seed(0)
        self.torch = torch
        self.path = folder / "inputs" / "weights.pth"
        self.network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 1, 1))
        state = self.network.state_dict()
        self.state = dict(state)
        nested = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
        self.sound = [
            self._saved(state),
            self._saved(nested | {"epoch": 3, "hyper": {"lr": 0.1}}),
            self._saved(state, _use_new_zipfile_serialization=False),
            save(dict(state)),
        ]
        self.safetensors = self.sound[-1]

    def _saved(self, value: Any, **settings: Any) -> bytes:
        stream = io.BytesIO()
        self.torch.save(value, stream, **settings)
        return stream.getvalue()

    def make(self, random: Random) -> Action:
        ways = (
            self._damaged,
            self._damaged,
            self._structure,
            self._header,
            self._pickle,
            self._zip,
        )
        self.path.write_bytes(random.choice(ways)(random))
        return lambda: load_weights(self.network, self.path)

    def _damaged(self, random: Random) -> bytes:
        return mutate_bytes(random.choice(self.sound), random)

    def _structure(self, random: Random) -> bytes:
        """Sound files of unsound content."""
        state: Any = dict(self.state)
        name = random.choice(list(state))
        kind = random.randrange(10)
        if kind == 0:
            state["itself"] = state
        elif kind == 1:
            inner: Any = []
            inner.append(inner)
            state = {"model": inner, "state_dict": state}
        elif kind == 2:
            for _ in range(random.choice((6, 90))):
                state = {random.choice(("model", "net", "x")): state}
        elif kind == 3:
            state[name] = random.choice(
                (
                    self.torch.zeros(1).expand(2**40),
                    self.torch.zeros(0),
                    self.torch.full((4, 3, 1, 1), float("nan")),
                    self.torch.zeros((4, 3, 1, 1)).to_sparse(),
                    self.torch.zeros((4, 3, 1, 1), dtype=self.torch.complex64),
                    self.torch.zeros((4, 3, 1, 1), dtype=self.torch.bool),
                    self.torch.zeros((4, 3, 1, 1), device="meta"),
                    self.torch.quantize_per_tensor(self.torch.zeros(3), 1.0, 0, self.torch.qint8),
                )
            )
        elif kind == 4:
            state = {f"{random.choice(HOSTILE_TEXTS)}{key}": value for key, value in state.items()}
        elif kind == 5:
            state = {random.choice((0, None, 1.5, (1,), b"x")): state, **state}
        elif kind == 6:
            state = random.choice(HOSTILE_VALUES)
        elif kind == 7:
            state = {f"model{index}": dict(self.state) for index in range(40)}
        elif kind == 8:
            left: Any = {}
            for _ in range(30):  # a billion ways through it
                left = {"a": left, "b": left}
            state = {"deep": left, **state}
        else:
            state = [state] * 3
        return self._saved(state)

    def _header(self, random: Random) -> bytes:
        """Safetensors whose header lies."""
        length = struct.unpack("<Q", self.safetensors[:8])[0]
        record = json.loads(self.safetensors[8 : 8 + length])
        entry = record[random.choice([name for name in record if name != "__metadata__"])]
        kind = random.randrange(7)
        if kind == 0:
            entry["data_offsets"] = random.choice(([0, 2**62], [-1, 4], [8, 4], [0], []))
        elif kind == 1:
            entry["shape"] = random.choice(([2**40], [-1], [1] * 80, [], ["4"], [2**64]))
        elif kind == 2:
            entry["dtype"] = random.choice(("F64", "BOOL", "F8_E4M3", "", None, "X" * 9_000))
        elif kind == 3:
            entry["extra"] = deep(random.choice((50, 5_000)), random)
        elif kind == 4:
            record["__metadata__"] = random.choice(({"a": 1}, [], Raw('{"a":"b","a":"c"}'), "x"))
        elif kind == 5:
            record = deep(100_000, random)
        else:
            record[random.choice(HOSTILE_TEXTS)] = entry
        header = hostile_json(record, random)
        claimed = random.choice((len(header), len(header), len(header), 2**63, 0, 10**9))
        return struct.pack("<Q", claimed) + header + self.safetensors[8 + length :]

    def _pickle(self, random: Random) -> bytes:
        """Pickles that call, loop, or are no checkpoints."""
        calls = (
            b"cos\nsystem\n(S'touch owned'\ntR.",
            b"\x80\x02cbuiltins\neval\nX\x01\0\0\0a\x85R.",
            b"\x80\x02}q\0h\0h\0s.",
            b"\x80\x02]q\0h\0a.",
            b"\x80\x02" + b"(" * 200_000 + b".",
            b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
            b"\x80\x02" + b"}X\x01\0\0\0a" * 5_000 + b"}" + b"s" * 5_000 + b".",
            b"\x80\x04\x95" + b"\xff" * 8 + b".",
            b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\0(K\x01tR.",
            b"\x80\x02ccollections\nOrderedDict\n)Rq\0X\x01\0\0\0ah\0s.",
            b"\x80\x02cargparse\nNamespace\n)R}X\x01\0\0\0aK\x01sb.",
        )
        content = random.choice((*calls, pickle.dumps(random.choice(HOSTILE_VALUES), 2)))
        if random.random() < 0.5:
            return self._rezipped(random, {"data.pkl": content})
        return mutate_bytes(content, random) if random.random() < 0.5 else content

    def _zip(self, random: Random) -> bytes:
        """Archives with parts left out, doubled, large, or under strange names."""
        kind = random.randrange(5)
        if kind == 0:
            return self._rezipped(random, {"data/0": b"\0" * random.choice((0, 1, 30_000_000))})
        if kind == 1:
            return self._rezipped(random, {"byteorder": random.choice((b"big", b"", b"x" * 99))})
        if kind == 2:
            return self._rezipped(random, {"version": random.choice((b"-1", b"", b"9" * 5_000))})
        if kind == 3:
            return self._rezipped(random, {}, doubled=random.choice(("data.pkl", "data/0")))
        return self._rezipped(random, {"../../../owned": b"x", "/etc/owned": b"x"})

    def _rezipped(
        self, random: Random, parts: dict[str, bytes], doubled: str | None = None
    ) -> bytes:
        stream = io.BytesIO()
        method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with (
            zipfile.ZipFile(io.BytesIO(self.sound[0])) as old,
            zipfile.ZipFile(stream, "w", method) as new,
        ):
            top = old.namelist()[0].partition("/")[0]
            contents = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
            contents |= parts
            for name, content in contents.items():
                new.writestr(f"{top}/{name}", content)
                if name == doubled:
                    new.writestr(f"{top}/{name}", content[::-1])
        return stream.getvalue()
