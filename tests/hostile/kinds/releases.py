"""What is signed, the keys that sign it, and bundles of MONAI."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from guard import FaultError
from mutations import HOSTILE_VALUES, hostile_json, mutate_bytes, mutate_json

from edgeseg.bundle.signature import SIGNATURE_NAME
from edgeseg.dossier.keys import make_key_pair, public_path, read_signing_key
from edgeseg.dossier.signing import sign_folder
from edgeseg.models import find_model
from edgeseg.pipeline.verify import verify_signature

Action = Callable[[], object]
FILES = {"manifest.json": b"{}\n", "runner/run.py": b"print('run')\n", "README.md": b"# Card\n"}


class Signatures:
    """Folders that were changed after they were signed, and signatures that are none."""

    def __init__(self, folder: Path) -> None:
        self.private = folder / "inputs" / "key.pem"
        self.folder = folder / "inputs" / "release"
        self.sound = folder / "inputs" / "sound"
        if not self.private.exists():
            make_key_pair(self.private, password="")
        shutil.rmtree(self.sound, ignore_errors=True)
        for name, content in FILES.items():
            (self.sound / name).parent.mkdir(parents=True, exist_ok=True)
            (self.sound / name).write_bytes(content)
        sign_folder(self.sound, read_signing_key(self.private))

    def make(self, random: Random) -> Action:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sound, self.folder)
        name = random.choice((*FILES, SIGNATURE_NAME, SIGNATURE_NAME, SIGNATURE_NAME))
        path = self.folder / name
        sound = path.read_bytes()
        kind = random.randrange(6)
        if kind == 0:
            self._unusual_place(path, random)
        elif kind == 1 and name == SIGNATURE_NAME:
            path.write_bytes(hostile_json(mutate_json(json.loads(sound), random), random))
        elif kind == 2 and name == SIGNATURE_NAME:
            record = json.loads(sound)
            part = record["dsseEnvelope"]
            part[random.choice((*part, "signatures"))] = random.choice(HOSTILE_VALUES)
            path.write_bytes(hostile_json(record, random))
        else:
            path.write_bytes(mutate_bytes(sound, random))
        is_same = path.is_file() and not path.is_symlink() and path.read_bytes() == sound
        return lambda: self._check(is_same)

    def _unusual_place(self, path: Path, random: Random) -> None:
        path.unlink()
        kind = random.randrange(5)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            path.symlink_to(random.choice(("/dev/zero", "/etc/passwd", path.name)))
        elif kind == 3:
            path.write_bytes(b"[" * 20_000_000)
        else:
            (path.parent / "added").write_bytes(b"")

    def _check(self, is_same: bool) -> None:
        verify_signature(self.folder, public_path(self.private))
        if not is_same:
            raise FaultError("a folder that was changed was taken")


class Keys(Signatures):
    """Files that are given for private and public keys."""

    def make(self, random: Random) -> Action:
        path = self.private.with_name("given.pem")
        path.unlink(missing_ok=True)
        is_private = random.random() < 0.5
        sound = (self.private if is_private else public_path(self.private)).read_bytes()
        content = mutate_bytes(sound, random)
        if random.random() < 0.2:
            content = str(random.choice(HOSTILE_VALUES)).encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        password = random.choice((None, "", "a\0b", "secret", "é" * 2_000))
        if random.random() < 0.6:
            return lambda: read_signing_key(path, password)
        return lambda: verify_signature(self.sound, path)


class MonaiBundles:
    """Configurations and metadata, nothing of which is run."""

    CONFIG: dict[str, Any] = {
        "dims": 2,
        "network_def": {
            "_target_": "BasicUNet",
            "spatial_dims": "@dims",
            "in_channels": 3,
            "out_channels": 1,
            "features": [4, 4, 4, 4, 4, 4],
            "norm": ["instance", {"affine": True}],
        },
        "lists": [
            {"_target_": "LoadImaged", "reader": "PILReader", "reverse_indexing": True},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
        "preprocessing": {"transforms": "@lists"},
    }
    METADATA: dict[str, Any] = {
        "name": "shapes",
        "copyright": "MIT",
        "network_data_format": {
            "inputs": {
                "image": {"num_channels": 3, "spatial_shape": [32, 32], "value_range": [0, 1]}
            },
            "outputs": {"pred": {"num_channels": 1, "channel_def": {"0": "disc"}}},
        },
    }
    CODE = ("$__import__('os').system('true')", "$open('owned', 'w')", "%x.json", "@", "@a::b#c")
    TARGETS = ("os.system", "builtins.eval", "monai.networks.nets.os", "subprocess.Popen", "UNet")

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "inputs" / "monai"
        self._fresh()
        for name, record in (("inference", self.CONFIG), ("metadata", self.METADATA)):
            (self.bundle / "configs" / f"{name}.json").write_text(json.dumps(record))
        # MONAI starts a program as it is imported, which is no input's fault.
        find_model(str(self.bundle))

    def _fresh(self) -> None:
        shutil.rmtree(self.bundle, ignore_errors=True)
        for name in ("configs", "models"):
            (self.bundle / name).mkdir(parents=True)
        (self.bundle / "models" / "model.pt").write_bytes(b"")

    def make(self, random: Random) -> Action:
        self._fresh()
        config, metadata = json.loads(json.dumps(self.CONFIG)), self.METADATA
        kind = random.randrange(7)
        network = config["network_def"]
        if kind == 0:
            network["_target_"] = random.choice(self.TARGETS)
        elif kind == 1:
            network[random.choice([*network])] = random.choice(self.CODE)
        elif kind == 2:
            network["norm"] = {"_target_": random.choice(self.TARGETS), "x": [self.CODE[0]]}
        elif kind == 3:
            config = mutate_json(config, random)
        elif kind == 4:
            loader = config["lists"][0]
            loader[random.choice([*loader])] = random.choice((*self.CODE, *HOSTILE_VALUES))
        else:
            metadata = mutate_json(metadata, random)
        texts = {"inference.json": config, "metadata.json": metadata}
        for name, record in texts.items():
            content = hostile_json(record, random)
            if random.random() < 0.1:
                content = mutate_bytes(content, random)
            (self.bundle / "configs" / name).write_bytes(content)
        return lambda: find_model(str(self.bundle))
