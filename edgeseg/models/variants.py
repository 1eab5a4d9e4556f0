"""Names and specs of edge twins: NAME-twin, and NAME-twin-relu, of a registered network."""

from __future__ import annotations

from dataclasses import replace

from .registry import ModelSpec

# Ending of the name -> activation, see `edgeseg.models.twin`. The longer first.
TWIN_ENDINGS = {"-twin-relu": "relu", "-twin": "hard_swish"}
TWIN_PLACE = "edgeseg.models.twin:Twin"


def split_twin_name(name: str) -> tuple[str, str]:
    """Name of the original and ending; the ending is empty where it is no twin."""
    for ending in TWIN_ENDINGS:
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending), ending
    return name, ""


def twin_of(spec: ModelSpec, ending: str) -> ModelSpec:
    """Spec of a network's twin; parameters and MACs are counted on it.

    Args:
        ending: Key of `TWIN_ENDINGS`.
    """
    return replace(
        spec,
        name=spec.name + ending,
        place=TWIN_PLACE,
        title=f"Edge twin of {spec.title}",
        source=f"{spec.source}; norms, activations and bridges replaced",
        weights=None,
        arguments={
            "place": spec.place,
            "arguments": spec.arguments,
            "activation": TWIN_ENDINGS[ending],
        },
    ).counted()
