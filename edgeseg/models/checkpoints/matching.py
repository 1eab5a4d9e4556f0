"""Which tensors of a checkpoint are a network's: the one rule by which names are matched.

A name of the checkpoint is the network's name behind one prefix, which is the same for all of them
(`model.` of Lightning, `module.` of DataParallel, none). Within names, what wrappers add is
dropped; old names of weight and spectral norm are brought up to date. What a profiler added, what
lies beside the prefix and parameters that the network holds under a second name are no fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

State = Mapping[str, Tensor]

# Segments of names that wrappers of modules add, at any place.
WRAPPING = (
    "module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
)  # fmt: skip
PROFILER = ("total_ops", "total_params")  # buffers that thop leaves
AVERAGED_PREFIX = "ema"  # within a prefix, as in "model_ema." or "ema_model."
LISTED = 4
TRIED = 16  # prefixes
PARAMETRIZED = {
    "_g": ("parametrizations.{}.original0",),
    "_v": ("parametrizations.{}.original1", "parametrizations.{}.0._v"),
    "_u": ("parametrizations.{}.0._u",),
    "_orig": ("parametrizations.{}.original",),
}


@dataclass(frozen=True)
class Match:
    """How a state fits a network.

    Attributes:
        state: Tensors by the network's names.
        missing: Names of the network that it lacks.
        unexpected: Its names that the network does not know, where none may be over.
        prefix: What its names have before the network's.
        dropped: Names that are not the network's part.
        renamed: How many names were changed beyond the prefix.
        shared: Names that were filled from another name of the same tensor.
    """

    state: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    prefix: str = ""
    dropped: list[str] = field(default_factory=list)
    renamed: int = 0
    shared: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected)

    def notes(self) -> list[str]:
        """What was done to the names, in words."""
        words = []
        if self.prefix.replace("module.", "").replace("_orig_mod.", ""):
            words.append(f"took the names after {self.prefix}")
        if self.renamed:
            words.append(f"renamed {self.renamed}")
        if self.dropped:
            words.append(f"left out {listed(self.dropped)}")
        if self.shared:
            words.append(f"filled {listed(self.shared)} from tied weights")
        return words


def listed(names: list[str]) -> str:
    """The number of names and the first of them."""
    shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    return f"{len(names)} ({shown})" if names else "0"


def match_state(state: State, expected: State, ignored: tuple[str, ...] = ()) -> list[Match]:
    """The ways in which a state can fit, the best first: one for each prefix.

    Args:
        expected: State of the network, for names and for which of them are one tensor.
        ignored: Beginnings of names that the state may hold and the network does not use.
    """
    matches = [_match(state, expected, prefix, ignored) for prefix in _prefixes(state, expected)]

    def rank(match: Match) -> tuple[bool, int, int, bool, int]:
        faults = len(match.missing) + len(match.unexpected)
        is_raw = AVERAGED_PREFIX not in match.prefix
        return not match.fits, -len(match.state), faults, is_raw, len(match.dropped)

    return sorted(matches, key=rank)


def match_wrapped(state: State, expected: State, ignored: tuple[str, ...] = ()) -> list[Match]:
    """As `match_state`; also where the user's class is itself a wrapper of the network saved."""
    matches = match_state(state, expected, ignored)
    outer = _outer_module(expected)
    own = {_clean(name) for name in expected}
    # Where the file has names of the wrapper's own, what lies beside them is a fault.
    if matches[0].fits or not outer or any(_clean(name) in own for name in state):
        return matches
    inner = {name.removeprefix(outer): tensor for name, tensor in expected.items()}
    within = [
        replace(
            match,
            state={outer + name: tensor for name, tensor in match.state.items()},
            renamed=len(match.state),
        )
        for match in match_wrapped(state, inner, ignored)
        if match.fits
    ]
    return within or matches


def _outer_module(expected: State) -> str:
    """The module that holds all parameters, with a dot; empty where there are several."""
    first = {name.partition(".")[0] for name in expected if "." in name}
    is_one = len(first) == 1 and all("." in name for name in expected)
    return f"{first.pop()}." if is_one else ""


def _prefixes(state: State, expected: State) -> list[str]:
    """Beginnings of names behind which many names of the network are found; "" is always one."""
    clean = {_clean(name) for name in expected}
    found: Counter[str] = Counter()
    for name in state:
        words = name.split(".")
        for count in range(1, len(words)):
            if _clean(".".join(words[count:])) in clean:
                found[".".join(words[:count]) + "."] += 1
    return ["", *(prefix for prefix, _ in found.most_common(TRIED))]


def _clean(name: str) -> str:
    """A name without what wrappers add."""
    return ".".join(word for word in name.split(".") if word not in WRAPPING)


def _match(state: State, expected: State, prefix: str, ignored: tuple[str, ...]) -> Match:
    by_clean = {_clean(name): name for name in expected}
    found: dict[str, Tensor] = {}
    unexpected: list[str] = []
    dropped: list[str] = []
    renamed = 0
    for name, tensor in state.items():
        own = name.removeprefix(prefix)
        if prefix and not name.startswith(prefix):
            dropped.append(name)
            continue
        if own.startswith(ignored):
            continue
        target = own if own in expected else by_clean.get(_clean(own))
        if target is None:
            target = _up_to_date(own, expected)
            renamed += target is not None
        if target is not None:
            found[target] = tensor
        elif own.rpartition(".")[2] in PROFILER:
            dropped.append(name)
        else:
            unexpected.append(name)
    shared = _fill_shared(found, expected)
    for name in expected:
        # Counts batches since the start of training; old checkpoints lack it, nothing uses it.
        if name.endswith("num_batches_tracked"):
            found.setdefault(name, expected[name])
    missing = [name for name in expected if name not in found]
    return Match(found, missing, unexpected, prefix, dropped, renamed, shared)


def _up_to_date(name: str, expected: State) -> str | None:
    """Today's name of a parameter of weight or spectral norm; None where there is none."""
    owner, _, own = name.rpartition(".")
    for ending, forms in PARAMETRIZED.items():
        weight = own.removesuffix(ending)
        if weight == own:
            continue
        for form in forms:
            target = f"{owner}.{form.format(weight)}" if owner else form.format(weight)
            if target in expected:
                return target
    return None


def _fill_shared(found: dict[str, Tensor], expected: State) -> list[str]:
    """Fill names whose tensor the network holds under another name too, which was found."""
    by_place: dict[tuple[int, torch.Size], Tensor] = {}
    for name, tensor in found.items():
        own = expected[name]
        if own.numel():
            by_place[own.data_ptr(), own.shape] = tensor
    filled = []
    for name, own in expected.items():
        place = own.data_ptr(), own.shape
        if name not in found and own.numel() and place in by_place:
            found[name] = by_place[place]
            filled.append(name)
    return filled
