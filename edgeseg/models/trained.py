"""A network together with the checkpoint that it is used with: the two travel as one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import sha256_of_file
from .find import find_model
from .spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TrainedModel:
    """A network with its checkpoint.

    Attributes:
        spec: The network, at the size that it sees images in.
        weights: File of the checkpoint, which exists.
        is_shipped: Whether the checkpoint is the one that a package ships for the network.
    """

    spec: ModelSpec
    weights: Path
    is_shipped: bool = False

    @classmethod
    def of(cls, spec: ModelSpec, weights: Path | None, option: str = "--weights") -> TrainedModel:
        """A network with the checkpoint at `weights`, or with the shipped one when it is None.

        Args:
            option: Option of the command line that `weights` comes from.

        Raises:
            UsageError, WeightsError: See `ModelSpec.resolve_weights`.
        """
        return cls(spec, spec.resolve_weights(weights, option), is_shipped=weights is None)

    @classmethod
    def find(
        cls,
        name: str,
        spec_path: Path | None = None,
        size: tuple[int, int] | None = None,
        weights: Path | None = None,
        option: str = "--weights",
    ) -> TrainedModel:
        """As a user names it: see `find_model` and `of`."""
        return cls.of(find_model(name, spec_path, size), weights, option)

    @cached_property
    def weights_sha256(self) -> str:
        """Checksum of the checkpoint, or of an ONNX file and its external data, in hexadecimal
        digits."""
        if self.spec.graph is not None:
            from ..formats.onnx_files.reading import sha256_of_graph

            return sha256_of_graph(self.weights)
        return sha256_of_file(self.weights)

    def load_network(self, note: Callable[[str], object] = len) -> nn.Module:
        """The network with its weights, in eval mode; for `note` see `ModelSpec.load_network`.

        Raises:
            WeightsError: The checkpoint does not fit.
        """
        return self.spec.load_network(self.weights, note)

    def identity(self) -> dict[str, Any]:
        """What decides the predictions, as JSON, for records; see `cache_identity`, too."""
        return {
            "model": self.spec.to_json(),
            "weights": self.weights_sha256,
            "source": self.spec.source_digest(),
        }

    def cache_identity(self) -> dict[str, Any]:
        """What decides the predictions, as JSON, for keys of the cache.

        A hash of all code and constants joins the record: it differs between processes that
        imported other files, so nothing that lasts holds it. Edgeseg's own code is in every key.
        """
        return {**self.identity(), "code": self._code_digest}

    @cached_property
    def _code_digest(self) -> str | None:
        return self.spec.code_digest()
