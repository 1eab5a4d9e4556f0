"""How the artefacts of a runtime are quantised, with every name looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from edgeseg.errors import UsageError

from .base import Calibrator, Emitter, Method, Quantizer
from .methods import EMITTERS, METHODS, default_method


class QuantizableRuntime(Protocol):
    """What quantisation asks of a runtime; `edgeseg.targets.Runtime` has it."""

    @property
    def quantized_from(self) -> tuple[str, ...]:
        """Formats that may be quantised, the preferred one first."""

    @property
    def plan_defaults(self) -> Mapping[str, str]:
        """Defaults of calibrators' options on this runtime, as words of a command line."""


@dataclass(frozen=True)
class QuantizationSpec:
    """A quantisation method with its options, and what writes its plan for one runtime.

    Attributes:
        method: A vendor quantiser, or a calibrator.
        emitter: Writes the calibrator's plan into artefacts; None for a vendor quantiser.
    """

    method: Quantizer | Calibrator
    emitter: Emitter | None

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def packages(self) -> tuple[str, ...]:
        """Import names that the method and the emitter need."""
        emitter = self.emitter.packages if self.emitter is not None else ()
        return tuple(dict.fromkeys((*self.method.packages, *emitter)))

    @property
    def makes_plan(self) -> bool:
        return self.emitter is not None

    def settings(self) -> dict[str, Any]:
        """All settings that change the result, for the manifest and the cache key."""
        return self.method.settings()


def resolve_quantization(
    runtime: QuantizableRuntime,
    method: str | None = None,
    options: Mapping[str, str] | None = None,
) -> QuantizationSpec:
    """Look up a method, its options and its emitter for a runtime.

    Args:
        method: Registered name; None takes the vendor quantiser of the preferred format, and the
            default calibrator where there is none.
        options: Options of the method, as words of a command line. The runtime's `plan_defaults`
            hold for the rest, where the method has such options, then the method's own defaults.

    Raises:
        UnknownNameError: No such method, or it has no such option.
        UsageError: The method does not handle the runtime's formats, or no method does.
    """
    formats = runtime.quantized_from
    name = method if method is not None else default_method(formats)
    method_class: type[Method] = METHODS.find(name)
    known = {field.name for field in fields(method_class.options_class)}
    words = {key: word for key, word in runtime.plan_defaults.items() if key in known}
    words.update(options or {})
    resolved = method_class(method_class.options_class.parse(f"method {name}", words))
    if isinstance(resolved, Quantizer):
        if resolved.artifact_format in formats:
            return QuantizationSpec(resolved, None)
        takes = resolved.artifact_format
    else:
        assert isinstance(resolved, Calibrator)
        emitter = _emitter_of(formats)
        if emitter is not None:
            return QuantizationSpec(resolved, emitter)
        takes = " or ".join(EMITTERS.names())
    raise UsageError(
        f"The quantisation method {name} takes {takes}, not {' or '.join(formats)}. Leave --method "
        "out to get one that does."
    )


def _emitter_of(formats: tuple[str, ...]) -> Emitter | None:
    """The emitter of the first format that has one."""
    for name in formats:
        if name in EMITTERS.names():
            emitter: Emitter = EMITTERS.find(name)()
            return emitter
    return None
