"""Where the time of a bundle goes, by the names that the network gives its parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeseg.quantize.plan.files import load_plan
from edgeseg.quantize.qdq_onnx import emit_qdq
from edgeseg.records import LayerTime
from edgeseg.targets import find_runtime
from edgeseg.targets.base import ProfileRequest
from edgeseg.targets.native.isa import best_here
from edgeseg.targets.native.peak import BYTES_OF_A_LANE, CorePeak, measure_core

from ..bundle.bundle import PLAN_FOLDER, SOURCE_ONNX, Bundle, open_bundle
from ..errors import BenchmarkError, TargetError, UsageError
from ..formats.model_explorer import Node
from ..lower.rewrites import lower_graph
from ..reference.costs import cut, module_costs
from ..reference.modules import NETWORK, module_of, modules_by_name
from ..storage.temporary import temporary_folder

UNATTRIBUTED = "(unattributed)"


@dataclass(frozen=True)
class ProfiledLayer:
    """A layer and the module that it belongs to.

    Attributes:
        module: Dotted name in the network; the common part where a layer was fused of several.
        is_named: Whether a name told the module. Else the runtime added the layer, to change a
            layout or a type, and the module is that of the layer that it was added for.
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
        """Least time of each module down to a depth: that of its products or of its bytes,
        whichever is longer. Empty where the core was not measured.

        Products and bytes are those of FP32; of INT8 where a layer of the module computed in it.
        Modules that are computed together may take less than their floors add up to.
        """
        if self.core is None or self.onnx_path is None:
            return {}
        in_codes = {
            cut(one.module, depth) for one in self.layers if one.layer.precision in ("i8", "u8")
        }
        floors = {}
        for name, cost in module_costs(self.onnx_path, depth).items():
            quick = name in in_codes
            products = (quick and self.core.byte_products) or self.core.products
            size = cost.bytes / (BYTES_OF_A_LANE if quick else 1)
            floors[name] = 1e3 * max(cost.products / products, size / self.core.bytes / 2)
        return floors

    @property
    def sum_ms(self) -> float:
        """Of all layers."""
        return sum(one.layer.milliseconds for one in self.layers)

    @property
    def named_share(self) -> float:
        """Of the layers' time, that whose module a name tells."""
        named = sum(one.layer.milliseconds for one in self.layers if one.is_named)
        return named / self.sum_ms if self.sum_ms else 0.0

    @property
    def attributed_share(self) -> float:
        """Of the layers' time, that which has a module: by a name, or by the flow of data."""
        lost = sum(one.layer.milliseconds for one in self.layers if one.module == UNATTRIBUTED)
        return 1 - lost / self.sum_ms if self.sum_ms else 0.0

    def added_ms(self, depth: int) -> dict[str, float]:
        """Of each module down to a depth, the milliseconds of layers that the runtime added."""
        return self._totals(depth, (one for one in self.layers if not one.is_named))

    def by_module(self, depth: int) -> dict[str, float]:
        """Milliseconds of each module down to a depth, the longest first."""
        totals = self._totals(depth, self.layers)
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    @staticmethod
    def _totals(depth: int, layers: Iterable[ProfiledLayer]) -> dict[str, float]:
        totals: dict[str, float] = {}
        for one in layers:
            name = cut(one.module, depth)
            totals[name] = totals.get(name, 0.0) + one.layer.milliseconds
        return totals

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "runtime": self.runtime,
            "run_ms": self.run_ms,
            "counted_ms": self.counted_ms,
            "sum_ms": self.sum_ms,
            "named_share": self.named_share,
            "attributed_share": self.attributed_share,
            "core": None if self.core is None else asdict(self.core),
            "floor_ms": self.floor_ms(1),
            "layers": [one.to_json() for one in self.layers],
        }

    def to_nodes(self) -> tuple[Node, ...]:
        """The layers as Model Explorer shows them, coloured by their milliseconds.

        Where a runtime tells no flow of data, each layer follows the one before.
        """
        places: dict[str, int] = {}
        nodes = []
        has_flow = any(one.layer.reads for one in self.layers)
        for place, one in enumerate(self.layers):
            layer = one.layer
            reads = [places[name] for name in layer.reads if name in places]
            if not has_flow and place:
                reads = [place - 1]
            facts = {
                "layer": layer.name,
                "milliseconds": f"{layer.milliseconds:.4f}",
                "computed in": layer.precision or "not told",
                "ONNX": ", ".join(layer.origins) or f"added by {self.runtime}",
            }
            module = "" if one.module in (NETWORK, UNATTRIBUTED) else one.module
            sources = tuple(dict.fromkeys(reads))
            nodes.append(Node(layer.kind, module, layer.milliseconds, sources, facts))
            places[layer.name] = place
        return tuple(nodes)

    def to_trace(self) -> dict[str, Any]:
        """As chrome://tracing and Perfetto show it: typical times, one after the other."""
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
    with temporary_folder("profile") as name:
        graphs = _graphs_of(bundle, onnx_path, Path(name))
        request = ProfileRequest(
            bundle.artifact, graphs[0], bundle.inputs.prepare(image), runs, graphs[1]
        )
        profile = find_runtime(bundle.manifest.runtime).profile(request)
    return BundleProfile(
        bundle.name,
        bundle.manifest.runtime,
        profile.run_ms,
        profile.counted_ms,
        attribute(profile.layers, _modules_of(bundle, onnx_path)),
        onnx_path,
        _measured_core(),
    )


def _modules_of(bundle: Bundle, onnx_path: Path) -> dict[str, str]:
    """The module of each name; empty where the graph names no modules, as those that older versions
    exported: all would be of the network's own forward.
    """
    modules = modules_by_name(onnx_path, rewrites_of(bundle))
    return modules if {*modules.values()} - {NETWORK} else {}


def _graphs_of(bundle: Bundle, onnx_path: Path, folder: Path) -> tuple[Path, Path | None]:
    """The rewritten graph, and that with the bundle's plan where it has one, in `folder`."""
    lowered = folder / "lowered.onnx"
    lower_graph(onnx_path, rewrites_of(bundle), lowered)
    plan = bundle.folder / PLAN_FOLDER
    if not plan.is_dir():
        return lowered, None
    quantized = folder / "quantized.onnx"
    emit_qdq(lowered, load_plan(plan), quantized)
    return lowered, quantized


def _measured_core() -> CorePeak | None:
    """What this core can do; None where nothing can be compiled for it."""
    isa = best_here("int8")
    try:
        return None if isa is None else measure_core(isa)
    except TargetError:
        return None


def rewrites_of(bundle: Bundle) -> tuple[str, ...]:
    """Names of the rewrites that were applied."""
    return tuple(bundle.manifest.lowering)


def attribute(layers: Iterable[LayerTime], modules: Mapping[str, str]) -> tuple[ProfiledLayer, ...]:
    """Give each layer its module.

    A layer that no name tells was added, to change a layout or a type: it belongs to the first
    layer behind it that reads what it made, else to the one before that it reads.
    """
    layers = tuple(layers)
    named = [_named_module(layer, modules) for layer in layers]
    # Several layers can have one name, where one operator was computed in parts.
    known: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for layer, module in zip(layers, named, strict=True):
        if module is not None:
            known.setdefault(layer.name, module)
        for source in layer.reads:
            readers.setdefault(source, []).append(layer.name)
    sources = {layer.name: layer.reads for layer in layers}
    attributed = []
    for layer, module in zip(layers, named, strict=True):
        near = (
            module or _nearest(layer.name, readers, known) or _nearest(layer.name, sources, known)
        )
        attributed.append(ProfiledLayer(layer, near or UNATTRIBUTED, module is not None))
    return tuple(attributed)


def _nearest(
    start: str, following: Mapping[str, Sequence[str]], known: Mapping[str, str]
) -> str | None:
    """The module of the nearest layer that has one, from layer to layer; None if there is none."""
    seen, waiting = {start}, deque([start])
    while waiting:
        name = waiting.popleft()
        if name in known:
            return known[name]
        new = [one for one in following.get(name, ()) if one not in seen]
        seen.update(new)
        waiting += new
    return None


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
