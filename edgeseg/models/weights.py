"""Reading and writing of network weights.

What is read may come from anywhere, so nothing in a file is executed: safetensors, or pickles of
plain tensors, see `edgeseg.models.checkpoints.files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UsageError, WeightsError
from ..storage.atomic import write_bytes
from .checkpoints.files import UNKNOWN, rank_of, read_file, states_of
from .checkpoints.matching import AVERAGED_PREFIX, Match, listed, match_wrapped
from .foreign_code import foreign_code
from .logits import inner_network

PREFIXES = ("module.", "_orig_mod.")
MODEL_ADVICE = "Check that --model names the network that these weights were trained for."
BACKBONE_ADVICE = "Check that --backbone-weights names a classifier of the network's backbone."
AVERAGE, UNCERTAIN = 0, 2  # see _certainty
SHAPE_ADVICE = "Check widths and number of classes."


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint as a flat mapping from parameter name to tensor on the CPU.

    Accepts safetensors and PyTorch files; a state dict wrapped in `state_dict`, `model`, ...;
    and names prefixed by `module.` or `_orig_mod.`.

    Raises:
        WeightsError: The file is missing, truncated, holds code, or holds no state dict.
    """
    state = next(iter(_read_states(path).values()))
    while prefix := _common_prefix(state):
        state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    return state


def _read_states(path: Path) -> dict[str, dict[str, Tensor]]:
    """All states in a checkpoint, by the keys that lead to them; at least one."""
    raw = read_file(path)
    states = states_of(raw)
    if not states:
        raise WeightsError(
            f"{path} holds no state dict (found {type(raw).__name__}). "
            "Save one with torch.save(model.state_dict(), ...)."
        )
    return states


def _common_prefix(state: dict[str, Tensor]) -> str:
    """The entry of `PREFIXES` that all names begin with; empty where there is none."""
    common = [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)]
    return common[0] if state and common else ""


def load_weights(
    network: nn.Module, path: Path, *, ignored: tuple[str, ...] = (), advice: str | None = None
) -> str:
    """Load a checkpoint into a network; every name and shape must match.

    Args:
        ignored: Prefixes of names that the file may hold and the network does not use.
        advice: Advice of the message where names or shapes differ; None tells to check --model.

    Returns:
        What was taken, renamed and left out, in words; empty where nothing was.

    Raises:
        WeightsError: As `load_state`; or names or shapes differ; or several states fit; or a value
            is NaN or infinite.
    """
    network = inner_network(network)
    expected = network.state_dict()
    place, match, notes = _choose(_read_states(path), expected, ignored, path)
    if not match.fits:
        where = f" ({place})" if place else ""
        raise WeightsError(
            f"{path}{where} does not fit {type(network).__name__}: "
            f"{_list('missing', match.missing)}; {_list('unexpected', match.unexpected)}. "
            f"{advice or MODEL_ADVICE}"
        )
    _require_tensors(match.state, expected, path, type(network).__name__, advice)
    with foreign_code(f"{type(network).__name__} does not load its weights", "Correct its code."):
        network.load_state_dict(match.state)
    return "; ".join([*notes, *match.notes()])


def _choose(
    states: Mapping[str, Mapping[str, Tensor]],
    expected: Mapping[str, Tensor],
    ignored: tuple[str, ...],
    path: Path,
) -> tuple[str, Match, list[str]]:
    """The state that fits, and notes on what it lay beside; else the one that nearly fits.

    Raises:
        WeightsError: Several fit, and nothing says which is meant.
    """
    matches = {place: match_wrapped(state, expected, ignored) for place, state in states.items()}
    fitting = [(place, match) for place, found in matches.items() for match in found if match.fits]
    if not fitting:
        place = max(matches, key=lambda place: len(matches[place][0].state))
        return place, matches[place][0], []
    (place, match), *others = sorted(fitting, key=lambda one: _certainty(*one))
    rivals = [one for one in others if _differ(one[1].state, match.state)]
    certainty = _certainty(place, match)
    label = _label(place, match)
    if certainty == UNCERTAIN and rivals:
        listing = ", ".join(_label(*one) for one in rivals)
        raise WeightsError(
            f"{path} holds several states that fit: {label}, {listing}. Save the one that is meant "
            "in a file of its own."
        )
    beside = ", not " + ", ".join(_label(*one) for one in rivals) if rivals else ""
    averaged = " (averaged weights)" if certainty == AVERAGE else ""
    notes = [f"took {label}{averaged}{beside}"] if averaged or beside else []
    if certainty != AVERAGE:
        unfit = {name: found[0] for name, found in matches.items() if rank_of(name) == 0}
        notes += [
            f"the averaged weights {name} do not fit ({_list('missing', one.missing)}, "
            f"{_list('unexpected', one.unexpected)})"
            for name, one in unfit.items()
        ]
    return place, match, notes


def _certainty(place: str, match: Match) -> int:
    """How sure it is that a state which fits is the one that is meant; the least is surest."""
    if rank_of(place) == 0 or AVERAGED_PREFIX in match.prefix:
        return AVERAGE
    return UNCERTAIN if match.prefix or rank_of(place) == UNKNOWN else AVERAGE + 1


def _label(place: str, match: Match) -> str:
    names = f"{match.prefix}*" if match.prefix else ""
    return f"{place} {names}".strip() or "the names as they are"


def _differ(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return any(
        tensor.shape != other[name].shape or not torch.equal(tensor, other[name])
        for name, tensor in state.items()
    )


def _require_tensors(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: Path,
    name: str,
    advice: str | None,
) -> None:
    """Refuse tensors of another shape or kind, and values that are not finite.

    Raises:
        WeightsError: Names the tensor.
    """
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"{path} does not fit {name}: '{key}' has shape {tuple(tensor.shape)}, the network "
                f"needs {tuple(expected[key].shape)}. {advice or SHAPE_ADVICE}"
            )
        if (
            tensor.layout != torch.strided
            or tensor.is_meta
            or (expected[key].is_floating_point() and not tensor.is_floating_point())
        ):
            raise WeightsError(
                f"{path} holds '{key}' as {tensor.dtype} ({tensor.layout}), the network needs "
                "plain floats. Save the float weights, not a quantised or sparse form."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{path} holds NaN or infinity in '{key}'. The training that wrote it "
                "diverged; use an earlier checkpoint."
            )


def load_backbone(network: nn.Module, name: str, path: Path) -> str:
    """Load an image classifier's checkpoint into the submodule that it was the backbone of.

    Args:
        name: Name of the submodule; its attribute `unused_weights` holds the prefixes of names that
            it does not load.
        path: The classifier's checkpoint.

    Returns:
        As `load_weights`.

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
    return load_weights(backbone, path, ignored=ignored, advice=BACKBONE_ADVICE)


def _list(title: str, names: list[str]) -> str:
    number, _, shown = listed(names).partition(" ")
    return f"{number} {title}" + (f" {shown}" if shown else "")


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights as safetensors, atomically, on the CPU in their own precision."""
    from safetensors.torch import save

    state = {
        # Cloned: networks may hold one tensor under two names.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in inner_network(network).state_dict().items()
    }
    write_bytes(path, save(state))
