"""What a network's `forward` returns: one map, or a tuple, list, dict or object that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import UsageError

# Names under which networks of common packages return the map that is meant.
MAIN_NAMES = ("out", "logits")
LISTED = 12
MAKE_PROBABILITIES = {"sigmoid", "sigmoid_", "_softmax", "softmax", "hardsigmoid", "hardsigmoid_"}
KEEP_PROBABILITIES = {
    "alias", "as_strided", "cat", "clamp", "clone", "contiguous", "detach", "expand", "permute",
    "select", "slice", "split", "split_with_sizes", "squeeze", "stack", "transpose", "unbind",
    "unsqueeze", "upsample_bilinear2d", "upsample_nearest2d", "_unsafe_view", "view", "_to_copy",
    "_upsample_bilinear2d_aa", "_upsample_nearest_exact2d", "constant_pad_nd",
}  # fmt: skip


def entries_of(result: Any) -> dict[str, Any]:
    """The parts of what `forward` returned, by name; parts of a sequence are named "0", "1", ..."""
    if isinstance(result, Mapping):
        return {str(name): part for name, part in result.items()}
    if is_dataclass(result) and not isinstance(result, type):
        return {field.name: getattr(result, field.name) for field in fields(result)}
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return dict(zip(result._fields, result, strict=True))
    if isinstance(result, (tuple, list)):
        return {str(index): part for index, part in enumerate(result)}
    return {}


def tensors_of(result: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a result with their names; those of a part have its name before a dot."""
    for name, part in entries_of(result).items():
        if isinstance(part, Tensor):
            yield prefix + name, part
        else:
            yield from tensors_of(part, f"{prefix}{name}.")


def pick_output(result: Any, output: str | int | None) -> Tensor:
    """The tensor that an entry `output` of a spec means; the first one where it is None.

    Raises:
        UsageError: There is none; the message lists those that there are.
    """
    if isinstance(result, Tensor):
        return result
    tensors = dict(tensors_of(result))
    parts = entries_of(result)
    if isinstance(output, int):
        numbered = list(parts.values())
        part = numbered[output] if -len(numbered) <= output < len(numbered) else None
    elif output is None:
        part = next(iter(tensors.values()), None)
    else:
        part = tensors.get(output, parts.get(output))
    if not isinstance(part, Tensor):
        part = next((tensor for _, tensor in tensors_of(part)), None)
    if part is None:
        wanted = "a tensor" if output is None else f"output = {output!r}"
        raise UsageError(
            f"What forward returned ({type(result).__name__}) does not have {wanted}. It has "
            f"{describe_tensors(tensors)}. Name one of these in the spec, or let forward return "
            "a tensor."
        )
    return part


def describe_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Names and shapes, as in "out (1, 1, 64, 80), aux (1, 8, 64, 80)"."""
    shown = [f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()][:LISTED]
    more = [f"{len(tensors) - LISTED} more"] if len(tensors) > LISTED else []
    return ", ".join([*shown, *more]) or "no tensor"


def choose_output(
    result: Any,
    output: str | int | None,
    channels: int,
    name: str,
    count_of: Callable[[str], int],
) -> str | int | None:
    """Which tensor of a result is the mask, where a spec does not say it.

    It is the largest with the right number of channels. Among several of one size it is the one
    called `out` or `logits`, or the first of a sequence where more parameters have a part in it
    than in any other: maps at the side of a network leave it earlier.

    Args:
        output: What the spec says.
        name: Of the network, for messages.
        count_of: Number of the parameters that have a part in the tensor of that name.

    Returns:
        An entry `output` for the spec; None where `result` is a tensor.

    Raises:
        UsageError: Several could be meant, or none; the message lists them.
    """
    if isinstance(result, Tensor):
        if output not in (None, 0, "0"):
            raise UsageError(
                f"The spec says output = {output!r}, and {name} returns one tensor, "
                f"{tuple(result.shape)}. Leave the entry out."
            )
        return None
    if output is not None:
        pick_output(result, output)
        return output
    tensors = dict(tensors_of(result))
    maps = {
        key: tensor
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.ndim == 4 and tensor.shape[1] == channels
    }
    if not maps:
        raise UsageError(
            f"{name} returns no map of {channels} channels. It returns {describe_tensors(tensors)}."
            " Correct channels, or let its forward return a tensor, or a sequence or dict of some."
        )
    most = max(tensor.shape[2] * tensor.shape[3] for tensor in maps.values())
    finest = {key: one for key, one in maps.items() if one.shape[2] * one.shape[3] == most}
    first = next(iter(finest))
    certain = [first] if len(finest) == 1 else [main for main in MAIN_NAMES if main in finest]
    if certain:
        return certain[0]
    counts = {key: count_of(key) for key in finest}
    if first == "0" and all(counts[first] > counts[key] for key in finest if key != first):
        return first
    raise UsageError(
        f"{name} returns several maps of one size: {describe_tensors(finest)}. Say in the spec "
        f"which is the mask, as in output = {_as_toml(list(finest)[-1])}."
    )


def _as_toml(name: str) -> str:
    return name if name.isdigit() else f'"{name}"'


def count_sources(network: nn.Module, image: Tensor) -> dict[str, int]:
    """How many parameters have a part in each tensor that `forward` returns, by its name."""
    frozen = [one for one in network.parameters() if not one.requires_grad]
    floats = [one for one in frozen if one.is_floating_point()]
    for parameter in floats:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            result = network.eval()(image)
        return {name: _count_leaves(tensor) for name, tensor in tensors_of(result)}
    finally:
        for parameter in floats:
            parameter.requires_grad_(False)


def _count_leaves(tensor: Tensor) -> int:
    seen: set[Any] = set()
    stack = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack += [following for following, _ in node.next_functions]
    return sum(1 for node in seen if not node.next_functions)


def resize_to_image(maps: Tensor, image: Tensor) -> Tensor:
    """Bring maps (N, C, h, w) to the image's size, bilinear; those of that size stay."""
    if maps.shape[2:] == image.shape[2:]:
        return maps
    return F.interpolate(maps, image.shape[2:], mode="bilinear", align_corners=False)


class _ProbabilityTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which tensors are made of results of a sigmoid or softmax and of nothing else."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.marked: dict[int, Tensor] = {}  # holding them keeps their ids from being given again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [leaf for leaf in torch.utils._pytree.tree_leaves(args) if isinstance(leaf, Tensor)]
        is_kept = name in KEEP_PROBABILITIES and given
        if name in MAKE_PROBABILITIES or (is_kept and all(id(one) in self.marked for one in given)):
            for leaf in torch.utils._pytree.tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.marked[id(leaf)] = leaf
        return result


def ends_in_probabilities(network: nn.Module, output: str | int | None, image: Tensor) -> bool:
    """Whether a sigmoid or softmax is the last arithmetic before the network's map."""
    with torch.inference_mode(), _ProbabilityTracer() as tracer:
        result = pick_output(network.eval()(image), output)
    return id(result) in tracer.marked
