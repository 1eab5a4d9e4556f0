"""Plans of earlier schema versions, in the words of the present one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from .quant_plan import digest_of

KEYS_OF_VERSION_1 = {"limits": "ranges"}
# Option names of calibrators that were renamed.
RENAMED_OPTIONS = {
    "results": "quantize_outputs",
    "depthwise_results": "quantize_depthwise_outputs",
}


def upgrade_plan(
    content: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """`plan.json` and `plan.safetensors` of version 1 as those of version 2.

    A digest of weights covers the names of the arrays, one of which was renamed: a digest that
    fits the arrays under their old names becomes the digest under the new ones, and a digest that
    does not fit stays as it is, so that the reader refuses it.

    Raises:
        KeyError: An array or an entry is missing.
    """
    upgraded = {KEYS_OF_VERSION_1.get(key, key): value for key, value in content.items()}
    weights = {
        name: _upgrade_digest(record, tensors[f"{name}.codes"], tensors[f"{name}.scales"])
        for name, record in content["weights"].items()
    }
    provenance = dict(content["provenance"])
    settings = provenance["settings"]
    provenance["settings"] = {RENAMED_OPTIONS.get(key, key): settings[key] for key in settings}
    renamed = {f"{name}.codes": f"{name}.values" for name in weights}
    return (
        {**upgraded, "schema_version": 2, "weights": weights, "provenance": provenance},
        {renamed.get(name, name): array for name, array in tensors.items()},
    )


def _upgrade_digest(
    record: Mapping[str, Any], values: NDArray[Any], scales: NDArray[Any]
) -> dict[str, Any]:
    if record["sha256"] != digest_of({"codes": values, "scales": scales}):
        return dict(record)
    return {**record, "sha256": digest_of({"values": values, "scales": scales})}
