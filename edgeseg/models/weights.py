"""Reading and writing of network weights.

What is read may come from anywhere, so nothing in a file is executed: safetensors, or pickles of
plain tensors through `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import pickletools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError, WeightsError
from ..storage.atomic import write_bytes
from .logits import inner_network

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
PREFIXES = ("module.", "_orig_mod.")
LISTED_KEYS = 4
MODEL_ADVICE = "Check that --model names the network that these weights were trained for."
BACKBONE_ADVICE = "Check that --backbone-weights names a classifier of the network's backbone."
SHAPE_ADVICE = "Check widths and number of classes."
# How torch's weights-only reader words its refusal to import something that a pickle names.
FOREIGN_CODE = re.compile(r"Unsupported (global|class)|not allowed|was not an allowed global")


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint as a flat mapping from parameter name to tensor on the CPU.

    Accepts safetensors and PyTorch files; a state dict wrapped in `state_dict`, `model`, ...;
    and names prefixed by `module.` or `_orig_mod.`.

    Raises:
        WeightsError: The file is missing, truncated, holds code, or holds no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"No weights file at {path}. Check the path.")
    raw = _READERS[_kind_of_file(path)](path)
    state = _unwrap(raw, path)
    while prefix := _common_prefix(state):
        state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    return state


def _common_prefix(state: dict[str, Tensor]) -> str:
    """The entry of `PREFIXES` that all names begin with; empty where there is none."""
    common = [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)]
    return common[0] if state and common else ""


def _kind_of_file(path: Path) -> str:
    """The format by the file's first bytes; its name may be wrong."""
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith((b"PK", b"\x80")):
        return "pickle"
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return "safetensors"
    raise WeightsError(
        f"{path} is not a PyTorch or safetensors checkpoint, or it is damaged. "
        "Copy or download it again."
    )


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(_damaged(path, error)) from error


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files make torch's reader fail in many ways; only one of them is about code.
        if FOREIGN_CODE.search(str(error)) or _is_newer_pickle(path, error):
            raise WeightsError(
                f"{path} holds more than tensors: loading it would run code from the file, so it "
                "was refused. Save only the weights, torch.save(model.state_dict(), ...), or "
                "safetensors, where you trust the file."
            ) from error
        raise WeightsError(_damaged(path, error)) from error


_READERS = {"safetensors": _read_safetensors, "pickle": _read_pickle}


def _is_newer_pickle(path: Path, error: Exception) -> bool:
    """Whether torch refused a whole pickle for a protocol that it never writes itself."""
    if "Unsupported operand" not in str(error):
        return False
    try:
        for _ in pickletools.genops(path.read_bytes()):  # reads, runs nothing
            pass
    except Exception:
        return False
    return True


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "weights_only" in reason:
        reason = type(error).__name__  # torch's words advise to load it unsafely
    return (
        f"{path} is not a whole PyTorch or safetensors checkpoint ({reason}). "
        "Copy or download it again."
    )


def _unwrap(raw: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(raw, Mapping) and not _is_state(raw):
        inner = next((raw[key] for key in WRAPPERS if isinstance(raw.get(key), Mapping)), None)
        if inner is None:
            break
        raw = inner
    if not isinstance(raw, Mapping) or not _is_state(raw):
        raise WeightsError(
            f"{path} holds no state dict (found {type(raw).__name__}). "
            "Save one with torch.save(model.state_dict(), ...)."
        )
    return dict(raw)


def _is_state(raw: Mapping[Any, Any]) -> bool:
    return bool(raw) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in raw.items()
    )


def load_weights(
    network: nn.Module, path: Path, *, ignored: tuple[str, ...] = (), advice: str | None = None
) -> None:
    """Load a checkpoint into a network; every name and shape must match.

    Args:
        ignored: Prefixes of names that the file may hold and the network does not use.
        advice: Advice of the message where names or shapes differ; None tells to check --model.

    Raises:
        WeightsError: As `load_state`; or names or shapes differ; or a value is NaN or infinite.
    """
    network = inner_network(network)
    state = {
        name: tensor for name, tensor in load_state(path).items() if not name.startswith(ignored)
    }
    expected = network.state_dict()
    for name in expected:
        # Counts batches since the start of training; old checkpoints lack it, nothing uses it.
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, expected[name])
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    if missing or unexpected:
        raise WeightsError(
            f"{path} does not fit {type(network).__name__}: {_list('missing', missing)}; "
            f"{_list('unexpected', unexpected)}. {advice or MODEL_ADVICE}"
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{path} does not fit {type(network).__name__}: '{name}' has shape "
                f"{tuple(tensor.shape)}, the network needs {tuple(expected[name].shape)}. "
                f"{advice or SHAPE_ADVICE}"
            )
        if tensor.layout != torch.strided or (
            expected[name].is_floating_point() and not tensor.is_floating_point()
        ):
            raise WeightsError(
                f"{path} holds '{name}' as {tensor.dtype} ({tensor.layout}), the network needs "
                "plain floats. Save the float weights, not a quantised or sparse form."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{path} holds NaN or infinity in '{name}'. The training that wrote it "
                "diverged; use an earlier checkpoint."
            )
    network.load_state_dict(state)


def load_backbone(network: nn.Module, name: str, path: Path) -> None:
    """Load an image classifier's checkpoint into the submodule that it was the backbone of.

    Args:
        name: Name of the submodule; its attribute `unused_weights` holds the prefixes of names that
            it does not load.
        path: The classifier's checkpoint.

    Raises:
        UsageError: The network has no backbone.
        WeightsError: As `load_weights`.
    """
    if not name:
        raise UsageError(
            "This network has no backbone that was pretrained apart. Leave --backbone-weights out, "
            "or start from a whole checkpoint with --weights."
        )
    backbone = inner_network(network).get_submodule(name)
    ignored = getattr(backbone, "unused_weights", ())
    load_weights(backbone, path, ignored=ignored, advice=BACKBONE_ADVICE)


def _list(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:LISTED_KEYS]) + (", ..." if len(names) > LISTED_KEYS else "")
    return f"{len(names)} {title}" + (f" ({shown})" if names else "")


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights as safetensors, atomically, on the CPU in their own precision."""
    from safetensors.torch import save

    state = {
        # Cloned: networks may hold one tensor under two names.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in inner_network(network).state_dict().items()
    }
    write_bytes(path, save(state))
