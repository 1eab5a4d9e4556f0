"""The models that edgeseg knows."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import InputContract, MeanStd, MinMax, OutputContract
from ..errors import UnknownNameError, UsageError, WeightsError, reason_of
from ..lazy import require
from ..metrics.scores import MetricSet
from ..records import sha256_of_file

if TYPE_CHECKING:
    from torch import nn

RETURNS = ("probabilities", "logits")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# (pixel - 127) / 128
EFFICIENTNET_MEAN = (127 / 255,) * 3
EFFICIENTNET_STD = (128 / 255,) * 3
# Over all pixels of the train list of covid_ct100. The network's published checkpoints were trained
# with the statistics of their own data.
CT100_MEAN = (0.5257, 0.5257, 0.5257)
CT100_STD = (0.3169, 0.3169, 0.3169)
WEIGHTS_FOLDER = Path(__file__).parent / "shipped"
# MSNet's and M2SNet's published code stretches each map before it scores anything.
POLYP_METRICS = MetricSet(
    ("soft_dice_image", "iou_image", "weighted_f", "s_measure", "e_measure", "mae"),
    stretches_maps=True,
)


@dataclass(frozen=True)
class ShippedWeights:
    """Weights that the package carries; the model card lies beside the file as NAME.md.

    Attributes:
        name: File name without ending.
        data: What they were trained on.
        licence: SPDX name; binds who uses the weights.
    """

    name: str
    data: str
    licence: str

    @property
    def path(self) -> Path:
        return WEIGHTS_FOLDER / f"{self.name}.safetensors"


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a network before it is built.

    Attributes:
        name: As on the command line.
        place: "module:class" of an `nn.Module` with `forward(image) -> probabilities` and
            `forward_logits(image)` for training.
        title: One line.
        source: Paper.
        parameters: Trainable numbers.
        macs: Multiply-accumulates of convolutions and matrix products of one forward pass at
            the default input size.
        inputs, outputs: The contracts.
        weights: Shipped weights; None when the user must bring their own.
        arguments: Keyword arguments of the class.
        returns: What `forward` gives: "probabilities", or "logits", which are then finished.
        paper_metrics: What the paper prints; None where no paper segments with it, as for a
            teacher made here, a network of the user's or one from a record.
    """

    name: str
    place: str
    title: str
    source: str
    parameters: int
    macs: int
    inputs: InputContract
    outputs: OutputContract
    weights: ShippedWeights | None
    arguments: dict[str, Any] = field(default_factory=dict)
    returns: str = "probabilities"
    paper_metrics: MetricSet | None = None

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
        return replace(self, inputs=inputs)

    @property
    def is_own(self) -> bool:
        """Whether it is one of edgeseg's networks, whatever a user's is called."""
        return self.place.startswith(f"{__package__}.")

    def source_digest(self) -> str | None:
        """SHA-256 of all Python files of the package that a user's network is written in, or of
        its one file and those beside it; None for edgeseg's own."""
        if self.is_own:
            return None
        top = importlib.import_module(self.place.partition(":")[0].partition(".")[0])
        if hasattr(top, "__path__"):
            files = [file for place in top.__path__ for file in Path(place).rglob("*.py")]
        else:
            files = list(Path(top.__file__).parent.glob("*.py")) if top.__file__ else []
        lines = [f"{file.name} {sha256_of_file(file)}" for file in sorted(files)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def make_network(self) -> nn.Module:
        """A freshly initialised network: `forward` gives probabilities, `forward_logits` logits.

        Raises:
            MissingBackendError: torch is not installed.
            UsageError: `place` names no network, or it does not take `arguments`.
        """
        torch = require("torch", purpose=f"The model {self.name}")
        module, _, attribute = self.place.partition(":")
        try:
            network_class = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(
                f"Cannot find the network {self.place} ({error}). Run the command where Python "
                "can import it, or set PYTHONPATH."
            ) from error
        if not (isinstance(network_class, type) and issubclass(network_class, torch.nn.Module)):
            raise UsageError(f"{self.place} is no torch.nn.Module. Name the network's class.")
        try:
            network: nn.Module = network_class(**self.arguments)
        except TypeError as error:
            raise UsageError(
                f"{self.place} does not take the arguments {self.arguments} ({error}). Correct "
                "[arguments] in the spec."
            ) from error
        if self.returns == "logits":
            from .logits import LogitsNetwork

            return LogitsNetwork(network)
        return network

    def counted(self) -> ModelSpec:
        """The same with parameters and MACs counted on a fresh network."""
        from .complexity import count_parameters, try_forward

        network = self.make_network()
        try:
            macs, shape = try_forward(network, self.inputs)
        except Exception as error:
            # Whatever a user's code raises.
            raise UsageError(
                f"{self.place} does not take an image of {self.inputs.height}x"
                f"{self.inputs.width}, or gives no tensor ({reason_of(error)}). Correct height, "
                "width and stride in the spec; its forward returns a tensor, or a sequence that "
                "begins with one."
            ) from error
        wanted = (1, self.outputs.channels, self.inputs.height, self.inputs.width)
        if shape != wanted:
            raise UsageError(
                f"{self.place} gives {shape} where the spec says {wanted}: one image, channels, "
                "height, width. Correct channels in the spec, or let forward return maps of the "
                "image's size."
            )
        return replace(self, parameters=count_parameters(network), macs=macs)

    def resolve_weights(self, path: Path | None, option: str = "--weights") -> Path:
        """The file to load: `path`, or the shipped one when None.

        Args:
            option: Of the command line, that `path` came from.

        Raises:
            UsageError: Neither is there.
            WeightsError: The shipped file was removed.
        """
        if path is not None and not path.is_file():
            raise UsageError(f"No weights file at {path}. Check {option}.")
        if path is not None:
            return path
        if self.weights is None:
            raise UsageError(f"No weights are shipped for {self.name}. Give them with {option}.")
        if not self.weights.path.is_file():
            raise WeightsError(
                f"The shipped weights {self.weights.path} are missing. Reinstall edgeseg, or "
                f"give your own with {option}."
            )
        return self.weights.path

    def load_network(self, weights_path: Path) -> nn.Module:
        """The network with weights, in eval mode.

        Raises:
            WeightsError: See `edgeseg.models.weights.load_weights`.
        """
        from .weights import load_weights

        network = self.make_network()
        load_weights(network, weights_path)
        return network.eval()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "place": self.place,
            "arguments": self.arguments,
            "returns": self.returns,
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
    def from_json(cls, record: dict[str, Any]) -> ModelSpec:
        """Spec of a record that `to_json` made; it has no shipped weights."""
        return cls(
            name=record["name"],
            place=record["place"],
            title=record["title"],
            source=record["source"],
            parameters=record["parameters"],
            macs=record["macs"],
            inputs=InputContract.from_json(record["input"]),
            outputs=OutputContract.from_json(record["output"]),
            weights=None,
            arguments=record["arguments"],
            returns=record["returns"],
        )


MODELS: dict[str, ModelSpec] = {
    "egeunet": ModelSpec(
        name="egeunet",
        place="edgeseg.models.egeunet:EgeUnet",
        title="EGE-UNet, skin lesions",
        source="Ruan et al., MICCAI 2023, arXiv:2307.08473",
        parameters=53_374,
        macs=72_096_256,
        inputs=InputContract(256, 256, 32, MinMax(0.0, 255.0)),
        outputs=OutputContract(("background", "lesion"), 1),
        weights=ShippedWeights("egeunet_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
        paper_metrics=MetricSet(
            ("iou_pooled", "dice_pooled", "accuracy", "specificity_pooled", "sensitivity_pooled")
        ),
    ),
    "egeunet-twin-relu": ModelSpec(
        name="egeunet-twin-relu",
        place="edgeseg.models.twin:Twin",
        title="Edge twin of EGE-UNet, skin lesions",
        source="Ruan et al., MICCAI 2023, arXiv:2307.08473; norms, activations and bridges "
        "replaced",
        parameters=59_022,
        macs=90_823_168,
        inputs=InputContract(256, 256, 32, MinMax(0.0, 255.0)),
        outputs=OutputContract(("background", "lesion"), 1),
        weights=ShippedWeights("egeunet_twin_relu_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
        arguments={
            "place": "edgeseg.models.egeunet:EgeUnet",
            "arguments": {},
            "activation": "relu",
        },
        paper_metrics=MetricSet(
            ("iou_pooled", "dice_pooled", "accuracy", "specificity_pooled", "sensitivity_pooled")
        ),
    ),
    "ulite": ModelSpec(
        name="ulite",
        place="edgeseg.models.ulite:ULite",
        title="U-Lite, skin lesions, cells, CT",
        source="Dinh et al., APSIPA 2023, arXiv:2306.16103",
        parameters=878_417,
        macs=736_509_952,
        inputs=InputContract(256, 256, 32, MeanStd()),
        outputs=OutputContract(("background", "lesion"), 1),
        weights=ShippedWeights("ulite_isic2018", "isic2018_task1", "CC-BY-NC-4.0"),
        paper_metrics=MetricSet(("soft_dice_image", "iou_image")),
    ),
    "miniseg": ModelSpec(
        name="miniseg",
        place="edgeseg.models.miniseg:MiniSeg",
        title="MiniSeg, COVID-19 infections in CT",
        source="Qiu et al., AAAI 2021, arXiv:2004.09750",
        parameters=82_912,
        macs=476_577_792,
        inputs=InputContract(512, 512, 16, MeanStd(CT100_MEAN, CT100_STD)),
        outputs=OutputContract(("background", "infection"), 2),
        weights=ShippedWeights("miniseg_ct100", "covid_ct100", "non-commercial"),
        paper_metrics=MetricSet(
            ("miou_pooled", "sensitivity_image", "specificity_image", "dice_image", "hd_px")
        ),
    ),
    "msnet": ModelSpec(
        name="msnet",
        place="edgeseg.models.msnet:MsNet",
        title="MSNet, polyps",
        source="Zhao et al., MICCAI 2021, arXiv:2108.05082",
        parameters=29_741_329,
        macs=16_844_005_376,
        inputs=InputContract(352, 352, 32, MeanStd(IMAGENET_MEAN, IMAGENET_STD)),
        outputs=OutputContract(("background", "polyp"), 1),
        weights=None,
        paper_metrics=POLYP_METRICS,
    ),
    "m2snet": ModelSpec(
        name="m2snet",
        place="edgeseg.models.m2snet:M2SNet",
        title="M2SNet, polyps, CT, ultrasound, OCT",
        source="Zhao et al., arXiv:2303.10894",
        parameters=29_741_585,
        macs=16_844_005_376,
        inputs=InputContract(352, 352, 32, MeanStd(IMAGENET_MEAN, IMAGENET_STD)),
        outputs=OutputContract(("background", "polyp"), 1),
        weights=None,
        paper_metrics=POLYP_METRICS,
    ),
    "efficientunet": ModelSpec(
        name="efficientunet",
        place="edgeseg.models.efficient_unet:EfficientUnet",
        title="U-Net on EfficientNet-Lite0, a teacher where labels are few",
        source="Tan and Le, ICML 2019, arXiv:1905.11946; Ronneberger et al., MICCAI 2015, "
        "arXiv:1505.04597",
        parameters=3_825_121,
        macs=1_471_363_072,
        inputs=InputContract(256, 256, 32, MeanStd(EFFICIENTNET_MEAN, EFFICIENTNET_STD)),
        outputs=OutputContract(("background", "foreground"), 1),
        weights=None,
    ),
}


def find_model(
    name: str, spec_path: Path | None = None, size: tuple[int, int] | None = None
) -> ModelSpec:
    """Spec of a model.

    Args:
        name: Of a registered model or its edge twin (NAME-twin, NAME-twin-relu), or
            "package.module:Class" of the user's.
        spec_path: Describes the user's.
        size: (height, width) of the input; None is the model's own.

    Raises:
        UnknownNameError: No such model.
        UsageError: See `edgeseg.models.user.read_user_model` and `ModelSpec.at_size`.
    """
    spec = _find_spec(name, spec_path)
    return spec if size is None else spec.at_size(*size)


def _find_spec(name: str, spec_path: Path | None) -> ModelSpec:
    if ":" in name:
        from .user import read_user_model

        return read_user_model(name, spec_path)
    from .variants import split_twin_name, twin_of

    original, ending = (name, "") if name in MODELS else split_twin_name(name)
    if original not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    if spec_path is not None:
        raise UsageError(
            f"--spec describes networks of your own; {name} is edgeseg's. Leave it out."
        )
    return twin_of(MODELS[original], ending) if ending else MODELS[original]
