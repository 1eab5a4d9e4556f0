"""Names and specs of edge variants: NAME-twin, and NAME-twin-relu, of a registered network.

An edge variant is the network with cheap parts in place of what edge runtimes are slow at, see
`edgeseg.models.twin`. It inherits recipes and taps from its original.
"""

from __future__ import annotations

from dataclasses import replace

from .spec import TWIN_PATH, ModelSpec, ShippedWeights

# Ending of the name -> activation, see `edgeseg.models.twin`. The longer ending comes first.
VARIANT_ENDINGS = {"-twin-relu": "relu", "-twin": "hard_swish"}


def split_variant_name(name: str) -> tuple[str, str]:
    """Name of the original and ending; the ending is empty where the name has none."""
    for ending in VARIANT_ENDINGS:
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending), ending
    return name, ""


def variant_of(spec: ModelSpec, ending: str) -> ModelSpec:
    """Spec of a network's edge variant; parameters and MACs are counted on the network.

    Args:
        ending: Key of `VARIANT_ENDINGS`.
    """
    return describe_variant(spec, ending).counted()


def describe_variant(
    spec: ModelSpec,
    ending: str,
    *,
    parameters: int = 0,
    macs: int = 0,
    weights: ShippedWeights | None = None,
) -> ModelSpec:
    """Spec of a network's edge variant with parameters and MACs as given; torch is not needed."""
    return replace(
        spec,
        name=spec.name + ending,
        import_path=TWIN_PATH,
        title=f"Edge twin of {spec.title}",
        source=f"{spec.source}; norms, activations and bridges replaced",
        parameters=parameters,
        macs=macs,
        weights=weights,
        arguments={
            "place": spec.import_path,
            "arguments": spec.arguments,
            "activation": VARIANT_ENDINGS[ending],
        },
    )
