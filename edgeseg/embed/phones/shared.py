"""What kits for Android and for iOS have in common."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ...errors import TargetError
from ..surface import Kit

# Words that are no name of a package in Kotlin or Java.
RESERVED = frozenset(
    """
    abstract as assert boolean break byte case catch char class const continue default do double
    else enum extends false final finally float for fun goto if implements import in instanceof int
    interface is long native new null object package private protected public return short static
    super switch synchronized this throw throws transient true try typealias typeof val var void
    volatile when while
    """.split()  # noqa: SIM905
)
CAMERA_CHANNELS = (1, 3)
PHONE_REFUSALS = {
    "onnxruntime": "kits for it are not written. Build with --target android.",
    **dict.fromkeys(
        ("tensorrt", "tensorrt-rtx"),
        "phones have no GPU of NVIDIA. Build with --target android.",
    ),
}


def require_camera(surface: str, kit: Kit) -> None:
    """Refuse a network that no photo goes into.

    Raises:
        TargetError: It says what such networks need.
    """
    channels = kit.bundle.inputs.channels
    if channels not in CAMERA_CHANNELS:
        raise TargetError(
            f"{kit.bundle.folder} takes pictures of {channels} channels, and --{surface} is for "
            "those of cameras, which have 1 or 3. Write the kit with --cpp, and call its C "
            "interface."
        )


def boolean(value: bool) -> str:
    """A literal of Kotlin and of Swift."""
    return str(value).lower()


def copy_into(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)


def short_name(kit: Kit) -> str:
    """The network's name in letters and digits, as packages and libraries are called."""
    name = re.sub(r"[^a-z0-9]", "", kit.bundle.manifest.model.name.lower())
    return name if name[:1].isalpha() and name not in RESERVED else f"net{name}"


def phone_values(kit: Kit) -> dict[str, str]:
    """Values of texts: of the network and of its golden image."""
    manifest, outputs = kit.bundle.manifest, kit.bundle.outputs
    height, width, _ = kit.golden_image.shape
    return {
        "MODEL": manifest.model.name,
        "LICENCE": manifest.model.weights_licence or "not told",
        "CLASSES": ", ".join(f"{label} {name}" for label, name in enumerate(outputs.classes)),
        "CHANNELS": str(kit.bundle.inputs.channels),
        "GOLDEN_HEIGHT": str(height),
        "GOLDEN_WIDTH": str(width),
        "MAX_FLIPS": repr(float(kit.golden_limits[1])),
    }


def write_tensors(kit: Kit, folder: Path) -> None:
    """Write the golden pair as the artefact has it, in its own layout, float32, little endian.

    tensor.bin         input
    probabilities.bin  output
    """
    tensors = {
        "tensor.bin": (kit.bundle.inputs.prepare(kit.golden_image), "input"),
        "probabilities.bin": (kit.golden_mask, "output"),
    }
    for name, (values, end) in tensors.items():
        is_last = kit.contract[end]["tensor"]["layout"] == "NHWC"
        placed = values.transpose(0, 2, 3, 1) if is_last else values
        (folder / name).write_bytes(placed.astype("<f4").tobytes())
