"""What goes into a network and what comes out, as numbers and as numpy code.

This one file prepares images in training, calibration, evaluation and on the device: a bundle
carries a copy of it beside its runner. It therefore needs numpy only and nothing of edgeseg.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What the input's channels are, by their number; where it is not told there are three.
COLORS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "as the file has them"}
IGNORED = 255  # in label maps: a pixel of which nothing is known, where the contract has `ignore`
# Of red, green and blue in 65536: ITU-R BT.601, as Pillow has it.
GREY_SHARES = 19595, 38470, 7471
WHITE = 65535  # in images of 16 bits, where nothing else is told
AXIAL = 2  # axis of volumes, where nothing else is told
RESIZE = "stretch, triangle filter widened by the scale when shrinking (antialias)"
MOST_PIXELS = 2**26  # 8192x8192
MOST_CLASSES = 256


@functools.lru_cache(maxsize=64)
def filter_taps(size_in: int, size_out: int) -> tuple[tuple[int, NDArray[np.float32]], ...]:
    """First source index and weights (summing to 1) of every output sample of a line resize.

    Pixel centres lie at i + 0.5. The triangle is one source pixel wide to either side when
    growing and `size_in / size_out` pixels when shrinking, the filter that image libraries call
    bilinear with antialias.
    """
    scale = size_in / size_out
    support = max(scale, 1.0)
    taps = []
    for index in range(size_out):
        centre = (index + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), size_in)
        distance = np.abs(np.arange(first, last) + 0.5 - centre) / support
        weights = np.maximum(1.0 - distance, 0.0)
        taps.append((first, (weights / weights.sum()).astype(np.float32)))
    return tuple(taps)


def resize_plane(array: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Resize (H, W) or (H, W, C) to (height, width[, C]), separable, in float32."""
    result = array
    if height > result.shape[0]:
        result = grow_lines(result, height)
    elif height < result.shape[0]:
        rows = np.empty((height, *result.shape[1:]), np.float32)
        flat = result.reshape(len(result), -1)
        for index, (first, weights) in enumerate(filter_taps(result.shape[0], height)):
            band = flat[first : first + len(weights)].astype(np.float32)
            np.dot(weights, band, out=rows.reshape(height, -1)[index])
        result = rows
    if width > result.shape[1]:
        # Whole lines are read faster than single samples.
        lines = np.ascontiguousarray(result.swapaxes(0, 1))
        result = np.ascontiguousarray(grow_lines(lines, width).swapaxes(0, 1))
    elif width < result.shape[1]:
        columns = np.empty((result.shape[0], width, *result.shape[2:]), np.float32)
        for index, (first, weights) in enumerate(filter_taps(result.shape[1], width)):
            band = result[:, first : first + len(weights)].astype(np.float32, copy=False)
            columns[:, index] = np.tensordot(band, weights, axes=(1, 0))
        result = columns
    return result.astype(np.float32)


def grow_lines(lines: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Resize the first axis to more samples: each is a sum of two neighbours, for all at once."""
    count = len(lines)
    place = (np.arange(size) + 0.5) * (count / size) - 0.5
    before = np.floor(place)
    # At the ends there is one neighbour, which then stands in both places.
    first, last = (np.clip(before + one, 0, count - 1).astype(np.intp) for one in (0, 1))
    shares = (place - before).astype(np.float32).reshape(size, *[1] * (lines.ndim - 1))
    values = lines.astype(np.float32)
    grown = values[first]
    # As a step from one to the other, so that a flat picture stays flat to the last bit.
    step = (values[last] - grown) * shares
    return np.asarray(grown + step, np.float32)


def grey_of(image: NDArray[Any]) -> NDArray[Any]:
    """Brightness (H, W, 1) of an RGB image (H, W, 3) of uint8 or uint16, in its own type."""
    shares = np.array(GREY_SHARES, np.uint32)
    total = (image * shares).sum(2, np.uint32, keepdims=True)
    return np.asarray((total + np.uint32(32768)) >> np.uint32(16), image.dtype)


def require_equal(meant: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse a record that says something which this code would not do.

    Raises:
        ValueError: Names the entries.
    """
    wrong = sorted(key for key in {**meant, **given} if meant.get(key) != given.get(key))
    if wrong:
        listing = ", ".join(f"{key} {given.get(key)!r}" for key in wrong)
        raise ValueError(f"The contract asks for what this version cannot honour: {listing}.")


def require_sizes(height: int, width: int, stride: int = 1) -> None:
    """Refuse sizes that are none, or whose product no memory holds.

    Raises:
        ValueError: Says what they are.
    """
    shown = f"{height!s:.40}x{width!s:.40}/{stride!s:.40}"
    if not all(type(size) is int for size in (height, width, stride)):
        raise ValueError(f"Sizes are whole numbers, got {shown}.")
    if height < 1 or width < 1 or stride < 1:
        raise ValueError(f"Sizes are positive, got {shown}.")
    if height * width > MOST_PIXELS:
        raise ValueError(f"{shown} has more than {MOST_PIXELS} pixels. Choose a smaller size.")


@dataclass(frozen=True)
class MinMax:
    """Stretch each image from its own minimum and maximum to [low, high]. A flat one gives low."""

    low: float = 0.0
    high: float = 1.0
    kind: str = "min_max"

    def __post_init__(self) -> None:
        if self.kind != "min_max":
            raise ValueError(f"MinMax.kind is 'min_max', not {self.kind!r}.")
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"MinMax needs low < high, got {self.low} and {self.high}.")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "low": self.low, "high": self.high}

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        least, most = float(pixels.min()), float(pixels.max())
        if most <= least:
            return np.full_like(pixels, self.low)
        gain = np.float32((self.high - self.low) / (most - least))
        return (pixels - np.float32(least)) * gain + np.float32(self.low)


@dataclass(frozen=True)
class MeanStd:
    """(pixel / 255 - mean) / std, with a number for each channel."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    kind: str = "mean_std"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.kind != "mean_std":
            raise ValueError(f"MeanStd.kind is 'mean_std', not {self.kind!r}.")
        counts = len(self.mean), len(self.std)
        if counts[0] != counts[1] or counts[0] not in COLORS or not np.isfinite(self.mean).all():
            raise ValueError(
                f"MeanStd needs a finite mean and a std for each of 1 to 4 channels, got {self}."
            )
        if not all(0 < std < np.inf for std in self.std):
            raise ValueError(f"MeanStd needs positive finite std, got {self.std}.")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "mean": list(self.mean), "std": list(self.std)}

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (pixels / np.float32(255.0) - mean) / std


@dataclass(frozen=True)
class InputContract:
    """The network's input tensor: float32, NCHW, batch 1.

    Attributes:
        height, width: Size in pixels that the network sees; images of any size are stretched.
        stride: Height and width are multiples of it.
        normalization: Applied to the resized image, whose values are in 0..255.
        name: Of the tensor.
        channels: 3 for RGB, 1 for grey, to which any picture is converted; 2 and 4 for bands that
            are taken as the file has them.
        white: Value of white in images of 16 bits, such as 4095 where 12 of them are used; larger
            values are white, too. None is 65535.
        window: Of DICOM and NIfTI files, before they are such images: (centre, width), or "file"
            for the file's own; None is the file's own where it has one.
        axis: Of volumes, along which they are cut: 0 from left to right, 1 to the front, 2 upwards.
    """

    height: int
    width: int
    stride: int
    normalization: MinMax | MeanStd
    name: str = "image"
    channels: int = 3
    white: int | None = None
    window: tuple[float, float] | str | None = None
    axis: int = AXIAL

    def __post_init__(self) -> None:
        if self.white is not None and not 1 <= self.white <= WHITE:
            raise ValueError(f"White is a value from 1 to {WHITE}, got {self.white}.")
        if self.channels not in COLORS:
            raise ValueError(f"An image has 1, 2, 3 or 4 channels, got {self.channels}.")
        how = self.normalization
        if isinstance(how, MeanStd) and len(how.mean) != self.channels:
            raise ValueError(
                f"mean and std have {len(how.mean)} numbers for {self.channels} input channels. "
                "Give each channel one."
            )
        require_sizes(self.height, self.width, self.stride)
        if self.height % self.stride or self.width % self.stride:
            sides, step = (self.height, self.width), self.stride
            right = dict.fromkeys(
                "x".join(str(max((side + up) // step, 1) * step) for side in sides)
                for up in (0, step - 1)
            )
            raise ValueError(
                f"Input size {self.height}x{self.width} (HxW) is not a multiple of the network's "
                f"stride {self.stride}. Nearest right: {' and '.join(right)}."
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (1, self.channels, self.height, self.width)

    def prepare(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Turn a decoded image into the network's input.

        Args:
            image: (H, W, channels), any H and W, uint8, or uint16 with `white` as white. For one
                channel, (H, W) and RGB (H, W, 3) are taken, too.

        Returns:
            (1, channels, height, width), float32, C-contiguous.

        Raises:
            ValueError: Another shape or dtype.
        """
        bands = self._bands(image)
        is_deep = image.dtype == np.uint16
        if is_deep and self.white is not None:
            bands = np.minimum(bands, np.uint16(self.white))
        pixels = resize_plane(bands, self.height, self.width)
        if is_deep:
            pixels /= np.float32((self.white or WHITE) / 255)
        return np.ascontiguousarray(self.normalization.apply(pixels).transpose(2, 0, 1)[None])

    def _bands(self, image: NDArray[Any]) -> NDArray[Any]:
        """(H, W, channels) of an image that `prepare` takes."""
        bands = image[..., None] if self.channels == 1 and image.ndim == 2 else image
        count = bands.shape[2] if bands.ndim == 3 else 0
        is_color = self.channels == 1 and count == 3
        if 0 in bands.shape or not (is_color or count == self.channels):
            grey = "(H, W), (H, W, 1) or (H, W, 3)"
            wanted = grey if self.channels == 1 else f"(H, W, {self.channels})"
            raise ValueError(f"An image is {wanted}, got shape {image.shape}.")
        if image.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"An image is uint8 or uint16, got {image.dtype}.")
        return grey_of(bands) if is_color else bands

    def to_json(self) -> dict[str, Any]:
        window = list(self.window) if isinstance(self.window, tuple) else self.window
        return {
            "name": self.name,
            "layout": "NCHW",
            "dtype": "float32",
            "color": COLORS[self.channels],
            **({} if self.channels == 3 else {"channels": self.channels}),
            **({} if self.white is None else {"white": self.white}),
            **({} if self.window is None else {"window": window}),
            **({} if self.axis == AXIAL else {"axis": self.axis}),
            "height": self.height,
            "width": self.width,
            "stride": self.stride,
            "resize": RESIZE,
            "normalization": self.normalization.to_json(),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> InputContract:
        kinds: dict[str, type[MinMax] | type[MeanStd]] = {"min_max": MinMax, "mean_std": MeanStd}
        normalization = kinds[record["normalization"]["kind"]](**record["normalization"])
        optional = {"channels", "white", "window", "axis"} & record.keys()
        stated = {key: record[key] for key in ("height", "width", "stride", "name", *optional)}
        if isinstance(stated.get("window"), list):
            stated["window"] = tuple(stated["window"])
        made = cls(normalization=normalization, **stated)
        require_equal(made.to_json(), record)
        return made


@dataclass(frozen=True)
class OutputContract:
    """The network's output tensor: float32 probabilities, (1, C, H, W).

    Attributes:
        classes: Names in label order, background first. Two classes and one channel is a
            sigmoid mask; otherwise one channel a class, softmax over channels.
        channels: C.
        threshold: Foreground is probability >= threshold (one channel only).
        name: Of the tensor.
        resized_from: (height, width) of the maps that the network's last layer gives, where the
            graph resizes them to the input's size; None where it does not.
        ignore: Value of a pixel in mask files of which nothing is known; None where there is none.
    """

    classes: tuple[str, ...]
    channels: int
    threshold: float = 0.5
    name: str = "mask"
    resized_from: tuple[int, int] | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.resized_from is not None:
            rows, columns = self.resized_from
            object.__setattr__(self, "resized_from", (rows, columns))
            require_sizes(rows, columns)
        if self.ignore is not None and not 0 <= self.ignore <= WHITE:
            raise ValueError(f"A value to ignore is 0 to {WHITE}, got {self.ignore}.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"The threshold lies between 0 and 1, got {self.threshold}.")
        if len(self.classes) > MOST_CLASSES:
            raise ValueError(f"Labels have 8 bits: {len(self.classes)} classes are too many.")
        if len(self.classes) < 2:
            raise ValueError("Background counts as a class: at least two are needed.")
        if self.channels != len(self.classes) and (self.channels, len(self.classes)) != (1, 2):
            raise ValueError(
                f"{self.channels} channels cannot hold {len(self.classes)} classes: use one "
                "channel a class, or one channel for two."
            )

    def labels(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """Class index per pixel, (H, W), of probabilities (1, C, H, W)."""
        if self.channels == 1:
            return np.asarray(probabilities[0, 0] >= self.threshold, np.uint8)
        return np.asarray(probabilities[0].argmax(0), np.uint8)

    def restore(
        self, probabilities: NDArray[np.floating[Any]], height: int, width: int
    ) -> NDArray[np.uint8]:
        """Class index per pixel of the original image, (height, width).

        Probabilities, not labels, are stretched back, so that edges stay smooth.

        Raises:
            ValueError: NaN or infinity, which would read as background.
        """
        if not np.isfinite(probabilities).all():
            raise ValueError("The network gives NaN or infinity for this image.")
        planes = resize_plane(probabilities[0].transpose(1, 2, 0), height, width)
        return self.labels(planes.transpose(2, 0, 1)[None])

    def shrink_labels(
        self, labels: NDArray[np.uint8], height: int, width: int
    ) -> NDArray[np.uint8]:
        """Bring a true label map (H, W) to the network's size: the class that covers most.

        A pixel that is `IGNORED` by half or more stays so.
        """
        if labels.shape == (height, width):
            return labels
        if self.ignore is not None:
            unknown = labels == IGNORED
            known = np.where(unknown, 0, labels).astype(np.uint8)
            small = replace(self, ignore=None).shrink_labels(known, height, width)
            small[resize_plane(unknown, height, width) >= 0.5] = IGNORED
            return small
        if len(self.classes) == 2:
            return (resize_plane(labels, height, width) >= 0.5).astype(np.uint8)
        one_hot = np.stack([labels == index for index in range(len(self.classes))], axis=-1)
        return np.asarray(resize_plane(one_hot, height, width).argmax(-1), np.uint8)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "layout": "NCHW",
            "dtype": "float32",
            "kind": "sigmoid" if self.channels == 1 else "softmax",
            "channels": self.channels,
            "classes": list(self.classes),
            "threshold": self.threshold,
            **({} if self.resized_from is None else {"resized_from": list(self.resized_from)}),
            **({} if self.ignore is None else {"ignore": self.ignore}),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> OutputContract:
        stated = {key: record[key] for key in ("classes", "channels", "threshold", "name")}
        stated.update({key: record.get(key) for key in ("resized_from", "ignore")})
        made = cls(**stated)
        require_equal(made.to_json(), record)
        return made
