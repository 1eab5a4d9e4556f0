"""Runs the network of this bundle. Needs numpy and the bundle's runtime, and nothing else.

    python runner/run.py --verify                    replay the golden pair
    python runner/run.py IMAGE.npy --output MASK.npy

IMAGE.npy holds a decoded image, (H, W, 3) uint8 for RGB, or (H, W) for a network of one channel;
MASK.npy receives the class of each of its pixels, (H, W) uint8. In an application:

    import runpy
    Network = runpy.run_path("BUNDLE/runner/run.py")["Network"]
    network = Network("BUNDLE")
    mask = network.predict(image)
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def load_beside(name: str) -> Any:
    """Run a file of this folder as a module that only this bundle uses.

    An application may load several bundles, whose files have the same names. Compiled copies
    are neither written, which would change the bundle, nor read, which nobody could check.
    """
    path = HERE / f"{name}.py"
    module = types.ModuleType(f"edgeseg_bundle:{path}")
    sys.modules[module.__name__] = module
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


contract = load_beside("contract")
backend = load_beside("backend")
golden = load_beside("golden")
identities = load_beside("identity")


class Network:
    """The bundle's network, loaded. Threads may share it: they take turns.

    Args:
        folder: The bundle.
        threads: CPU threads.
    """

    def __init__(self, folder: Any, threads: int = 1) -> None:
        self.folder = Path(folder)
        path = self.folder / "manifest.json"
        if not path.is_file():  # reading a pipe would wait
            raise ValueError(f"{path} is no file. Name the folder of a bundle.")
        self.manifest = json.loads(path.read_text(encoding="utf-8"))
        artifact = self.manifest["artifact"]
        self.inputs = contract.InputContract.from_json(self.manifest["input"])
        self.outputs = contract.OutputContract.from_json(self.manifest["output"])
        files, settings = artifact["files"], artifact["settings"]
        self.backend = backend.Backend(self.folder, files, settings, threads)

    def predict(self, image: Any) -> Any:
        """Class of each pixel, (H, W) uint8, of an image (H, W, C) uint8 of any size.

        C is `inputs.channels`: 3 for RGB. For one, (H, W) and RGB are taken, too.

        Raises:
            ValueError: It is no such image.
        """
        pixels = np.asarray(image)
        probabilities = self.backend.run(self.inputs.prepare(pixels))
        return self.outputs.restore(probabilities, pixels.shape[0], pixels.shape[1])

    @property
    def identity(self) -> str:
        """The first 12 digits of the bundle's identity."""
        identity: str = identities.identity_of(self.manifest)
        return identity[: identities.IDENTITY_LENGTH]

    def verify(self) -> tuple[bool, str]:
        """Replay the golden pair; returns whether it holds, and the numbers."""
        record = self.manifest["golden"]
        image, expected = golden.read_golden(
            self.folder / record["image"], self.folder / record["mask"]
        )
        computed = self.backend.run(self.inputs.prepare(image))
        check = golden.check_golden(record, self.outputs, expected, computed)
        return check.holds, str(check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", help="decoded image, .npy, (H, W, C) uint8")
    parser.add_argument("--output", help="where the mask goes, .npy")
    parser.add_argument("--verify", action="store_true", help="replay the golden pair")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    try:
        return run(parser, arguments)
    except (OSError, EOFError, ValueError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except (LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"
        print(
            f"Error: the bundle is damaged, or the image is too large ({reason:.300}). Copy the "
            "bundle again.",
            file=sys.stderr,
        )
        return 1


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    network = Network(HERE.parent, arguments.threads)
    if arguments.verify:
        holds, numbers = network.verify()
        print(f"{'ok' if holds else 'FAILED'}: {numbers}; bundle {network.identity}")
        return 0 if holds else 1
    if arguments.image is None or arguments.output is None:
        parser.error("give --verify, or an image and --output")
    np.save(arguments.output, network.predict(golden.read_array(Path(arguments.image))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
