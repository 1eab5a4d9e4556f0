"""Which sizes the maps of a network may have beside its image."""

from __future__ import annotations

from dataclasses import replace

from ..contract import InputContract, OutputContract
from ..errors import UsageError


def contract_of_maps(
    shape: tuple[int, ...], inputs: InputContract, outputs: OutputContract, name: str
) -> OutputContract:
    """The contract of a network that gives maps of that shape, (1, C, h, w).

    Maps with a half, a third, a quarter, ... of the image's rows and columns are resized in the
    graph. Maps of any other size were cropped on the way, as by convolutions without padding:
    resized, they would lie beside the image.

    Args:
        name: Of what gives them, for the message.

    Raises:
        UsageError: The shape is another one.
    """
    wanted = (1, outputs.channels, inputs.height, inputs.width)
    if shape == wanted:
        return outputs
    if len(shape) == 4 and shape[:2] == wanted[:2] and _is_fraction(shape[2:], wanted[2:]):
        return replace(outputs, resized_from=(shape[2], shape[3]))
    raise UsageError(
        f"{name} gives {shape} where the spec says {wanted}: one image, channels, height, width. "
        "Correct channels in the spec, or let the network return maps of the image's size, or of a "
        "half, a quarter, ... of it."
    )


def _is_fraction(size: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether both sides are the same fraction of the whole ones, rounded alike."""
    return any(
        size == tuple(side // factor for side in whole)
        or size == tuple(-(-side // factor) for side in whole)
        for factor in range(2, max(whole) + 1)
    )
