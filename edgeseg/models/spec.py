"""What is known of a network before it is built; nothing here imports torch."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import InputContract, OutputContract
from ..errors import UsageError, WeightsError
from ..lazy import require
from ..metrics.scores import MetricSet
from ..records import sha256_of_file
from ..storage.imported_code import imported_code_digest
from .construction import make_module, materialise
from .recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

RETURNS = ("probabilities", "logits")
WEIGHTS_FOLDER = Path(__file__).parent / "shipped"
ONNX_PLACE = "onnx"  # in `import_path`, before the name of a file that is no code
# The class around the original of an edge variant, see `edgeseg.models.twin`.
TWIN_PATH = "edgeseg.models.twin:Twin"
# The class around a network that MONAI trained on turned pictures.
TURNED_PATH = "edgeseg.models.foreign.turned:Turned"


def are_names(classes: Iterable[str]) -> bool:
    """Whether all consist of printable letters."""
    return all(name.strip() and name.isprintable() for name in classes)


@dataclass(frozen=True)
class ShippedWeights:
    """Weights that a package carries; the model card lies beside the file as NAME.md.

    Attributes:
        name: File name without its ending.
        data: Data set that the weights were trained on.
        licence: SPDX name of the licence that binds whoever uses the weights.
        folder: Folder of the file; edgeseg's own unless another package ships the weights.
        ending: Of the file, whose kind it tells.
    """

    name: str
    data: str
    licence: str
    folder: Path = WEIGHTS_FOLDER
    ending: str = ".safetensors"

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / f"{self.name}{self.ending}"


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a network before it is built.

    Attributes:
        name: Name of the model on the command line.
        import_path: "module:class" of an `nn.Module` with `forward(image) -> probabilities` and
            `forward_logits(image)` for training. Manifests call it "place".
        title: One line that names the network and its task.
        source: Paper that describes the network.
        parameters: Number of trainable parameters.
        macs: Multiply-accumulates of convolutions and matrix products of one forward pass at
            the default input size.
        inputs, outputs: The contracts.
        weights: Shipped weights; None when the user must bring a checkpoint.
        arguments: Keyword arguments of the class.
        returns: What `forward` returns: "probabilities", or "logits", to which edgeseg adds the
            sigmoid or softmax.
        output: Which entry of what `forward` returns is the mask, by name or index; None where it
            is the first or the only one.
        paper_metrics: Metrics that the paper prints; None where no paper segments with this
            network, as for a teacher made here, a network of the user's or a spec from a record.
        recipes: Training recipes by name, the default first; empty gives the generic recipe.
        graph: The ONNX file that is the network; None for a network in torch.
        taps: Names of the modules whose features a distillation compares, from input to output;
            empty where the user has to name them.
    """

    name: str
    import_path: str
    title: str
    source: str
    parameters: int
    macs: int
    inputs: InputContract
    outputs: OutputContract
    weights: ShippedWeights | None
    arguments: dict[str, Any] = field(default_factory=dict)
    returns: str = "probabilities"
    output: str | int | None = None
    paper_metrics: MetricSet | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    taps: tuple[str, ...] = ()
    graph: Path | None = None

    def __post_init__(self) -> None:
        if self.returns not in RETURNS:
            raise ValueError(f"returns is one of {', '.join(RETURNS)}, not {self.returns!r}.")
        if self.paper_metrics and self.paper_metrics.stretches_maps and self.outputs.channels > 1:
            raise ValueError(f"{self.name}: only a map of one channel can be stretched.")

    def at_size(self, height: int, width: int) -> ModelSpec:
        """The same network at another input size.

        Raises:
            UsageError: The size is no multiple of the network's stride.
        """
        try:
            inputs = replace(self.inputs, height=height, width=width)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from error
        outputs = self.outputs
        if outputs.resized_from is not None:
            before = self.inputs.height, self.inputs.width
            rows, columns = (
                -(-own * new // old)
                for own, new, old in zip(outputs.resized_from, (height, width), before, strict=True)
            )
            outputs = replace(outputs, resized_from=(rows, columns))
        return replace(self, inputs=inputs, outputs=outputs)

    def of_graph(self, path: Path) -> ModelSpec:
        """The same network as an ONNX file holds it."""
        return replace(self, graph=path)

    def with_counts(self, parameters: int, macs: int) -> ModelSpec:
        """The same with numbers that were counted elsewhere."""
        return replace(self, parameters=parameters, macs=macs)

    def source_digest(self) -> str | None:
        """Hash of the network's code where edgeseg does not contain it; see `code_digest`, too.

        Returns:
            SHA-256 over all Python files of the package that holds the network, or over its one
            file and the files beside it; None for edgeseg's own networks, whose code is part of
            every cache key.
        """
        if self.graph is not None:
            return None  # all of it is in the file, whose bytes count as weights
        path = self.import_path
        if path in (TWIN_PATH, TURNED_PATH):
            path = self.arguments["place"]
        top_name = path.partition(":")[0].partition(".")[0]
        if top_name == __name__.partition(".")[0]:
            return None
        top = importlib.import_module(top_name)
        if hasattr(top, "__path__"):
            files = [file for folder in top.__path__ for file in Path(folder).rglob("*.py")]
        else:
            files = list(Path(top.__file__).parent.glob("*.py")) if top.__file__ else []
        lines = [f"{file.name} {sha256_of_file(file)}" for file in sorted(files)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def code_digest(self) -> str | None:
        """Hash of all that decides what the network computes, beside its weights; for cache keys.

        Returns:
            SHA-256 over `source_digest`, over all files that were imported and that nobody
            installed, and over the operators and constants of one forward pass; None for edgeseg's
            own networks.

        Raises:
            UsageError: As `make_network`, or the network's forward fails.
        """
        source = self.source_digest()
        if source is None:
            return None
        from .probe import trace_digest

        # First, as it may import what the class does not.
        traced = trace_digest(self.make_network(), self.inputs)
        parts = (source, imported_code_digest(), traced)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def make_network(self) -> nn.Module:
        """A freshly initialised network: `forward` gives probabilities, `forward_logits` logits.

        Raises:
            MissingBackendError: torch is not installed.
            UsageError: `import_path` names no network, the class does not take `arguments`, or its
                code fails; or the network is an ONNX file.
        """
        if self.graph is not None:
            raise UsageError(
                f"{self.graph} is a graph, which cannot be trained, nor scored by edgeseg evaluate."
                " Build it with edgeseg build --onnx and score the bundle with edgeseg bench, or "
                "name the network in torch with --model."
            )
        require("torch", purpose=f"The model {self.name}")
        network: nn.Module = make_module(self.import_path, self.arguments)
        materialise(network, self.inputs.shape, self.import_path)
        return self._wrapped(network)

    def _wrapped(self, network: nn.Module) -> nn.Module:
        """The network with what it lacks before it gives probabilities of the image's size."""
        if self.returns == "logits":
            from .logits import LogitsNetwork

            return LogitsNetwork(network, self.output)
        if self.output is not None or self.outputs.resized_from is not None:
            from .logits import ProbabilityNetwork

            return ProbabilityNetwork(network, self.output)
        return network

    def counted(self) -> ModelSpec:
        """The same spec with parameters and MACs counted on a fresh network.

        Where its forward returns several maps, or smaller ones, the spec also says which is taken
        and that it is resized.

        Raises:
            UsageError: The network does not take the image or does not return the mask that the
                contracts describe.
        """
        from .logits import inner_network
        from .probe import probe_network

        network = inner_network(self.make_network())
        probe = probe_network(
            network, self.import_path, self.inputs, self.outputs, self.output, self.returns
        )
        return replace(self, **probe._asdict())

    def resolve_weights(self, path: Path | None, option: str = "--weights") -> Path:
        """The checkpoint to load: `path`, or the shipped weights when `path` is None.

        Args:
            option: Option of the command line that `path` came from.

        Raises:
            UsageError: `path` does not exist, or no weights are shipped.
            WeightsError: The shipped file was removed.
        """
        if self.graph is not None:
            if path is not None:
                raise UsageError(
                    f"{option} {path} goes with networks in torch; the weights of {self.graph} are "
                    "in that file. Leave it out."
                )
            return self.graph
        if path is not None and not path.is_file():
            raise UsageError(f"No weights file at {path}. Check {option}.")
        if path is not None:
            return path
        if self.weights is None:
            raise UsageError(f"No weights are shipped for {self.name}. Give them with {option}.")
        if not self.weights.path.is_file():
            is_own = self.weights.folder == WEIGHTS_FOLDER
            again = "Reinstall edgeseg" if is_own else "Take again what ships them"
            raise WeightsError(
                f"The shipped weights {self.weights.path} are missing. {again}, or give your own "
                f"with {option}."
            )
        return self.weights.path

    def load_network(self, weights_path: Path, note: Callable[[str], object] = len) -> nn.Module:
        """The network with weights, in eval mode.

        Args:
            note: Is told what of the checkpoint was taken, renamed and left out, if anything.

        Raises:
            WeightsError: See `edgeseg.models.weights.load_weights`.
        """
        from .weights import load_weights

        network = self.make_network()
        if words := load_weights(network, weights_path):
            note(words)
        return network.eval()

    def to_json(self) -> dict[str, Any]:
        """What decides the network, and what a reader of a manifest wants to know of it."""
        return {
            "name": self.name,
            "place": self.import_path,
            "arguments": self.arguments,
            "returns": self.returns,
            **({} if self.output is None else {"forward_output": self.output}),
            "title": self.title,
            "source": self.source,
            "parameters": self.parameters,
            "macs": self.macs,
            "input": self.inputs.to_json(),
            "output": self.outputs.to_json(),
            "weights": None
            if self.weights is None
            else {"data": self.weights.data, "licence": self.weights.licence},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ModelSpec:
        """Spec of a record that `to_json` made, without shipped weights, recipes and taps."""
        return cls(
            name=record["name"],
            import_path=record["place"],
            title=record["title"],
            source=record["source"],
            parameters=record["parameters"],
            macs=record["macs"],
            inputs=InputContract.from_json(record["input"]),
            outputs=OutputContract.from_json(record["output"]),
            weights=None,
            arguments=record["arguments"],
            returns=record["returns"],
            output=record.get("forward_output"),
        )


def size_to_compare(spec: ModelSpec, other: ModelSpec) -> tuple[int, int] | None:
    """Where inputs differ in size, the larger height and width; else None.

    Raises:
        UsageError: The networks look for other classes.
    """
    ours, theirs = (len(one.outputs.classes) for one in (spec, other))
    if ours != theirs:
        raise UsageError(
            f"{other.name} knows {theirs} classes, {spec.name} {ours}. Compare networks of the "
            "same classes."
        )
    (rows, columns), (others, wide) = ((s.inputs.height, s.inputs.width) for s in (spec, other))
    return None if (rows, columns) == (others, wide) else (max(rows, others), max(columns, wide))
