"""What an ONNX file holds, and a first description of it for `edgeseg build --onnx`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import MOST_PIXELS
from ..errors import UsageError, reason_of
from ..formats.onnx_files.reading import (
    GraphFile,
    Port,
    image_input,
    layout_of,
    ports,
    read_graph,
    require_no_loop,
)
from ..models.foreign.onnx_file import read_onnx_model
from ..storage.atomic import write_text
from ..storage.temporary import temporary_folder

USUAL_SIDE = 256
STRIDES = (1, 2, 4, 8, 16, 32, 64)
NEAR = 1e-3  # of a probability
PROBES = 3  # random images


@dataclass(frozen=True)
class Inspection:
    """Attributes:
    image: The input, as the file has it.
    layout: Where its channels are, "NCHW" or "NHWC".
    height, width: Sizes that it was run at.
    stride: The sizes of an image are multiples of it, as far as trying told; the file's own size
        where it is fixed.
    outputs: As they came, by their names.
    output: The one that is taken for the mask.
    channels: Of that one.
    returns: "probabilities" where all that it gave lies in 0..1 and adds up as such, else "logits".
    low, high: The values that it gave.
    """

    image: Port
    layout: str
    height: int
    width: int
    stride: int
    outputs: tuple[Port, ...]
    output: str
    channels: int
    returns: str
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return {
            "input": {"name": self.image.name, "sizes": list(self.image.sizes)},
            "layout": self.layout,
            "height": self.height,
            "width": self.width,
            "stride": self.stride,
            "outputs": [{"name": port.name, "sizes": list(port.sizes)} for port in self.outputs],
            "output": self.output,
            "channels": self.channels,
            "returns": self.returns,
            "values": [self.low, self.high],
        }

    @property
    def spec_text(self) -> str:
        """A TOML file for --spec; what no file can tell is marked to be looked at."""
        count = 2 if self.channels == 1 else self.channels
        classes = ", ".join(f'"{name}"' for name in ("background", *_class_names(count - 1)))
        image_channels = self.image.sizes[1 if self.layout == "NCHW" else 3]
        assert image_channels is not None
        mean, std = (", ".join([number] * image_channels) for number in ("0.5", "0.5"))
        several = f'output = "{self.output}"\n' if len(self.outputs) > 1 else ""
        return (
            f"# Written from what the file gives for random images. Look at the lines marked (!).\n"
            f"classes = [{classes}]  # (!) names, background first\n"
            f"channels = {self.channels}\n"
            f'returns = "{self.returns}"  # values lay in {self.low:.3g} to {self.high:.3g}\n'
            f"{several}"
            f"height = {self.height}\n"
            f"width = {self.width}\n"
            f"stride = {self.stride}\n"
            f"input_channels = {image_channels}\n"
            "\n"
            "[normalization]  # (!) as in training: of pixels in 0..1\n"
            'kind = "mean_std"\n'
            f"mean = [{mean}]\n"
            f"std = [{std}]\n"
            "\n"
            "# [window]  # of DICOM and NIfTI: what was black and white in training\n"
            "# centre = 40\n"
            "# width = 400\n"
        )


def _class_names(count: int) -> list[str]:
    return ["lesion"] if count == 1 else [f"class{index}" for index in range(1, count + 1)]


def inspect_onnx(path: Path, size: tuple[int, int] | None = None) -> Inspection:
    """Run an ONNX file on random images.

    Args:
        size: (height, width); None takes the file's own, or 256x256 where that is free.

    Raises:
        UsageError: The file is refused, or runs at no size that is tried.
    """
    file = read_graph(path)
    model = file.model
    require_no_loop(model, path)
    image = image_input(model, path)
    layout, channels = layout_of(image, path)
    fixed = image.sizes[2:] if layout == "NCHW" else image.sizes[1:3]
    wanted = size or (fixed[0] or USUAL_SIDE, fixed[1] or USUAL_SIDE)
    if wanted[0] * wanted[1] > MOST_PIXELS:
        raise UsageError(
            f"{path} takes images of {wanted[0]}x{wanted[1]}, more than {MOST_PIXELS} pixels. "
            "Export it for a smaller size."
        )
    run = _runner(file, image, layout, channels)
    results = run(*wanted)
    outputs = tuple(
        Port(port.name, str(result.dtype), tuple(result.shape))
        for port, result in zip(ports(model.graph.output), results, strict=True)
    )
    chosen = _mask_of(outputs, layout, path)
    index = outputs.index(chosen)
    maps = np.stack([run(*wanted, seed)[index] for seed in range(PROBES)]).astype(np.float64)
    _require_sound(path, chosen, maps, results[index])
    is_first = layout == "NCHW" or len(chosen.sizes) < 4
    count = 1 if len(chosen.sizes) == 3 else chosen.sizes[1 if is_first else 3]
    assert count is not None
    axis = 2 if is_first else 4
    found = Inspection(
        image,
        layout,
        *wanted,
        1 if None not in fixed else _stride_of(run, *wanted),
        outputs,
        chosen.name,
        count,
        _kind_of(maps, axis if count > 1 else None),
        float(maps.min()),
        float(maps.max()),
    )
    _require_buildable(path, found)
    return found


def _require_sound(path: Path, port: Port, maps: NDArray[Any], again: NDArray[Any]) -> None:
    """Refuse maps that are no numbers, and a file that answers one image in two ways.

    Args:
        maps: For random images.
        again: For the first of them.
    """
    if not np.isfinite(maps).all():
        raise UsageError(
            f"Output {port.name} of {path} holds NaN or infinity for random images. Export the "
            "network with its trained weights."
        )
    if not np.array_equal(maps[0], again):
        raise UsageError(
            f"{path} answers one image in two ways. Take out of the network what is random, as "
            "dropout in training mode, and export it again."
        )


def _require_buildable(path: Path, found: Inspection) -> None:
    """Refuse what `edgeseg build` would, with the description that is written.

    Raises:
        UsageError: See `edgeseg.models.foreign.onnx_file.read_onnx_model`.
    """
    with temporary_folder("inspect") as name:
        spec = Path(name) / "spec.toml"
        write_text(spec, found.spec_text)
        read_onnx_model(path, spec)


def write_spec(inspection: Inspection, path: Path) -> None:
    """Write a first description.

    Raises:
        UsageError: There is a file already, which may hold somebody's work.
    """
    if path.exists():
        raise UsageError(f"{path} is there already. Name another file for --write-spec.")
    write_text(path, inspection.spec_text)


def _runner(file: GraphFile, image: Port, layout: str, channels: int) -> Any:
    session = file.open_session(is_plain=False)

    def run(height: int, width: int, seed: int = 0) -> list[NDArray[Any]]:
        shape = (channels, height, width) if layout == "NCHW" else (height, width, channels)
        pixels = np.random.default_rng(seed).normal(0, 1, (1, *shape)).astype(np.float32)
        try:
            return [np.asarray(one) for one in session.run(None, {image.name: pixels})]
        except Exception as error:
            raise UsageError(
                f"ONNX Runtime does not run {file.path} on an image of {height}x{width} "
                f"({reason_of(error)}). Name a size that the network takes with --size."
            ) from error

    return run


def _mask_of(outputs: tuple[Port, ...], layout: str, path: Path) -> Port:
    """The largest map; of several the one with the fewest channels."""
    maps = [port for port in outputs if len(port.sizes) in (3, 4) and None not in port.sizes]
    if not maps:
        texts = ", ".join(port.text for port in outputs)
        raise UsageError(
            f"{path} gives {texts}, and no map of the image. A network that segments is wanted."
        )

    def rank(port: Port) -> tuple[int, int]:
        sizes = [size or 0 for size in port.sizes]
        is_first = layout == "NCHW" or len(sizes) == 3
        rows, columns = sizes[-2:] if is_first else sizes[1:3]
        channels = sizes[1] if is_first and len(sizes) == 4 else sizes[-1] if not is_first else 1
        return -rows * columns, channels

    return min(maps, key=rank)


def _stride_of(run: Any, height: int, width: int) -> int:
    """The smallest of the usual strides at which larger images run, too."""
    for stride in STRIDES:
        try:
            run(height + stride, width + stride)
        except UsageError:
            continue
        return stride
    return STRIDES[-1]


def _kind_of(maps: NDArray[np.float64], axis: int | None) -> str:
    is_share = maps.min() >= -NEAR and maps.max() <= 1 + NEAR
    adds_up = axis is None or np.abs(maps.sum(axis) - 1).max() < NEAR
    return "probabilities" if is_share and adds_up else "logits"
