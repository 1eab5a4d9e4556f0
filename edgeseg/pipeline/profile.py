"""Where the time of a bundle goes, by the names that the network gives its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeseg.records import LayerTime
from edgeseg.targets import find_runtime
from edgeseg.targets.base import ProfileRequest
from edgeseg.targets.native.isa import best_here
from edgeseg.targets.native.peak import CorePeak, measure_core

from ..bundle.bundle import SOURCE_ONNX, Bundle, open_bundle
from ..errors import BenchmarkError, TargetError, UsageError
from ..reference.costs import cut, module_costs
from ..reference.modules import NETWORK, module_of, modules_by_name

UNKNOWN = "(unknown)"


@dataclass(frozen=True)
class ProfiledLayer:
    """A layer and the module that it belongs to.

    Attributes:
        module: Dotted name in the network; the common part where a layer was fused of several.
        is_named: Whether a name told the module; else it is that of the layer before.
    """

    layer: LayerTime
    module: str
    is_named: bool

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.layer), "module": self.module, "is_named": self.is_named}


@dataclass(frozen=True)
class BundleProfile:
    """Attributes:
    name: Of the bundle.
    runtime: That computed.
    run_ms, counted_ms: See `LayerProfile`.
    layers: In the order of a run.
    onnx_path: The exported graph, which tells what each module costs at least.
    core: What this core can do; None where there is no compiler to measure it with.
    """

    name: str
    runtime: str
    run_ms: float
    counted_ms: float
    layers: tuple[ProfiledLayer, ...]
    onnx_path: Path | None = None
    core: CorePeak | None = None

    def floor_ms(self, depth: int) -> dict[str, float]:
        """Least time of each module down to a depth: that of its products or of its bytes in FP32,
        whichever is longer. Empty where the core was not measured.

        Modules that are computed together may take less than their floors add up to.
        """
        if self.core is None or self.onnx_path is None:
            return {}
        return {
            name: 1e3 * max(cost.products / self.core.products, cost.bytes / self.core.bytes / 2)
            for name, cost in module_costs(self.onnx_path, depth).items()
        }

    @property
    def sum_ms(self) -> float:
        """Of all layers."""
        return sum(one.layer.milliseconds for one in self.layers)

    @property
    def named_share(self) -> float:
        """Of the layers' time, that whose module a name tells."""
        named = sum(one.layer.milliseconds for one in self.layers if one.is_named)
        return named / self.sum_ms if self.sum_ms else 0.0

    def by_module(self, depth: int) -> dict[str, float]:
        """Milliseconds of each module down to a depth, the longest first."""
        totals: dict[str, float] = {}
        for one in self.layers:
            name = cut(one.module, depth)
            totals[name] = totals.get(name, 0.0) + one.layer.milliseconds
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "runtime": self.runtime,
            "run_ms": self.run_ms,
            "counted_ms": self.counted_ms,
            "sum_ms": self.sum_ms,
            "named_share": self.named_share,
            "core": None if self.core is None else asdict(self.core),
            "floor_ms": self.floor_ms(1),
            "layers": [one.to_json() for one in self.layers],
        }

    def to_trace(self) -> dict[str, Any]:
        """As chrome://tracing and Perfetto show it: medians, one after the other."""
        events = []
        start = 0.0
        for one in self.layers:
            took = 1e3 * one.layer.milliseconds
            events.append(
                {
                    "name": one.module,
                    "cat": one.layer.kind,
                    "ph": "X",
                    "ts": start,
                    "dur": took,
                    "pid": 1,
                    "tid": 1,
                    "args": {"layer": one.layer.name, "precision": one.layer.precision},
                }
            )
            start += took
        return {"traceEvents": events, "displayTimeUnit": "ms"}


def profile_bundle(folder: Path, runs: int) -> BundleProfile:
    """Time the layers of a bundle on its golden image, on one thread of this machine.

    Raises:
        BundleError: There is no bundle, or it is damaged.
        BenchmarkError: It lacks the exported graph, which has the modules' names.
        TargetError: The runtime does not tell the times of layers, or does not run here.
    """
    if runs < 1:
        raise UsageError(f"--runs {runs} measures nothing. Give 1 or more.")
    bundle = open_bundle(folder)
    bundle.check_files()
    onnx_path = bundle.folder / SOURCE_ONNX
    if not onnx_path.is_file():
        raise BenchmarkError(
            f"{folder} has no {SOURCE_ONNX}, which names the network's modules. Profile the whole "
            "bundle that edgeseg build wrote."
        )
    image, _ = bundle.golden_pair()
    request = ProfileRequest(
        bundle.artifact, onnx_path, rewrites_of(bundle), bundle.inputs.prepare(image), runs
    )
    profile = find_runtime(bundle.manifest.runtime).profile(request)
    return BundleProfile(
        bundle.name,
        bundle.manifest.runtime,
        profile.run_ms,
        profile.counted_ms,
        attribute(profile.layers, modules_by_name(onnx_path, rewrites_of(bundle))),
        onnx_path,
        _measured_core(),
    )


def _measured_core() -> CorePeak | None:
    """What this core can do; None where nothing can be compiled for it."""
    isa = best_here()
    try:
        return None if isa is None else measure_core(isa)
    except TargetError:
        return None


def rewrites_of(bundle: Bundle) -> tuple[str, ...]:
    """Names of the rewrites that were applied."""
    return tuple(bundle.manifest.lowering)


def attribute(layers: Iterable[LayerTime], modules: Mapping[str, str]) -> tuple[ProfiledLayer, ...]:
    """Give each layer its module; what the runtime added belongs to the layer before."""
    attributed = []
    layers = tuple(layers)
    # What comes before the first known layer counts for that one.
    last = next(filter(None, (_named_module(layer, modules) for layer in layers)), UNKNOWN)
    for layer in layers:
        module = _named_module(layer, modules)
        last = module or last
        attributed.append(ProfiledLayer(layer, last, module is not None))
    return tuple(attributed)


def _named_module(layer: LayerTime, modules: Mapping[str, str]) -> str | None:
    """What the names of a layer tell."""
    found = [module_of(name, modules) for name in (*layer.origins, layer.name)]
    known = [module for module in found if module is not None]
    return common_module(known) if known else None


def common_module(modules: list[str]) -> str:
    """What the names begin with together; the last one's where that is nothing."""
    inner = [module.split(".") for module in modules if module != NETWORK]
    if not inner:
        return NETWORK
    common = []
    for parts in zip(*inner, strict=False):
        if len({*parts}) > 1:
            break
        common.append(parts[0])
    return ".".join(common or inner[-1])
