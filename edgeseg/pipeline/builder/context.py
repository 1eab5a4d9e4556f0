"""What every form of one network on one runtime has in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeseg.data.depth import tell_depth
from edgeseg.data.folder import Pair, tell_files
from edgeseg.data.medical.frames import sha256_of_picture
from edgeseg.errors import UsageError
from edgeseg.lazy import require_installed
from edgeseg.lower.rewrites import statistics_rewrites
from edgeseg.models import ModelSpec, TrainedModel, find_model
from edgeseg.progress import Progress
from edgeseg.quantize import QuantizationSpec, resolve_quantization
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.reference.find import open_reference, reference_packages
from edgeseg.reference.reference import (
    ExportedGraph,
    FloatReference,
    ReferenceImages,
    export_checked,
)
from edgeseg.targets import Runtime, find_runtime
from edgeseg.targets.devices import Device, find_device
from edgeseg.tuning.candidate import Candidate

from .request import BuildRequest, completed, open_split

CHECK_IMAGES = 8
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class BuildContext:
    """The network, the device, its runtime and the images of a request.

    What takes long is done when it is asked for, and once.
    """

    def __init__(self, request: BuildRequest, progress: Progress) -> None:
        self.request = completed(request)
        self.progress = progress
        self.spec: ModelSpec = find_model(request.model, request.spec, request.size)
        self.device: Device = find_device(request.target)
        name = self.device.resolve_runtime(request.runtime)
        usual = self.device.options.get(name, {})
        self.runtime: Runtime = find_runtime(name, {**usual, **request.options})
        self.model = TrainedModel.of(self.spec, request.weights)
        self._quantizations: dict[
            tuple[str | None, tuple[tuple[str, str], ...]], QuantizationSpec
        ] = {}

    @property
    def name(self) -> str:
        """MODEL-DEVICE-PRECISION, with the runtime where it is not the device's own."""
        device, runtime = self.device.name, self.runtime.name
        place = device if runtime == self.device.runtimes[0] else f"{device}-{runtime}"
        return f"{self.spec.name}-{place}-{self.precision}"

    @property
    def precision(self) -> str:
        """The one that is built; "auto" where measuring decides."""
        assert self.request.precision is not None
        return self.request.precision

    @property
    def output(self) -> Path:
        """Folder of the bundle."""
        assert self.request.output is not None
        return self.request.output

    def fixed_candidate(self, precision: str) -> Candidate:
        """How this precision is built where nothing is measured.

        Raises:
            UnknownNameError: The runtime has no such precision, or there is no such method.
            UsageError: A method was asked for, and the precision is a float one.
        """
        self.runtime.require_precision(precision)
        request = self.request
        plain = Candidate(precision, tuple(self.runtime.rewrites.get(precision, ())))
        if precision in self.runtime.quantized_precisions:
            return self.by_method(plain, request.method, request.method_options)
        if request.method is not None or request.method_options:
            raise UsageError(
                f"--method and --method-option go with a quantised precision; {precision} is none. "
                "Leave them out."
            )
        return plain

    def by_method(
        self, candidate: Candidate, method: str | None, options: Mapping[str, str] = NO_OPTIONS
    ) -> Candidate:
        """The candidate by a method, without the rewrites that the method does not go with."""
        spec = self.quantization(method, options)
        rewrites = candidate.rewrites
        if spec.method.keeps_statistics:
            rewrites = tuple(name for name in rewrites if name not in statistics_rewrites())
        return replace(
            candidate,
            rewrites=rewrites,
            method=spec.name,
            method_options=tuple(sorted(options.items())),
        )

    def quantization(self, method: str | None, options: Mapping[str, str]) -> QuantizationSpec:
        """A method with its options for this runtime; see `resolve_quantization`."""
        key = method, tuple(sorted(options.items()))
        if key not in self._quantizations:
            spec = resolve_quantization(self.runtime, method, options)
            self._quantizations[key] = self._quantizations[spec.name, key[1]] = spec
        return self._quantizations[key]

    def require_packages(self, candidates: Iterable[Candidate]) -> None:
        """Refuse at once what would fail for want of a package after long work."""
        methods = {
            (candidate.method, candidate.method_options)
            for candidate in candidates
            if candidate.method
        }
        needed = [*reference_packages(self.spec), *self.runtime.build_packages]
        for name, options in sorted(methods):
            needed += self.quantization(name, dict(options)).packages
        require_installed(needed, purpose=f"Building for {self.runtime.name}")

    @cached_property
    def check_pairs(self) -> tuple[Pair, ...]:
        """Images of the val split on which forms of the network are compared."""
        axis = self.spec.inputs.axis
        val = open_split(self.request.data, "val", labelled=False, axis=axis)
        tell_files(val, self.progress)
        return tuple(val)[:CHECK_IMAGES]

    @cached_property
    def calibration(self) -> CalibrationImages:
        axis = self.spec.inputs.axis
        dataset = open_split(self.request.data, "train", labelled=False, axis=axis)
        return choose_calibration_images(dataset, self.spec.inputs, self.request.calibration_images)

    @cached_property
    def reference(self) -> FloatReference:
        paths = [pair.image_path for pair in self.check_pairs]
        tell_depth(paths, self.spec.inputs, self.progress)
        with self.progress.stage("load the model") as stage:
            return open_reference(self.model, stage.note)

    @cached_property
    def references(self) -> ReferenceImages:
        reference = self.reference
        with self.progress.stage("run the FP32 reference"):
            return reference.answer(self.check_pairs)

    @cached_property
    def exported(self) -> ExportedGraph:
        return export_checked(
            self.reference,
            self.spec,
            self.model.weights_sha256,
            lambda: self.references,
            progress=self.progress,
            use_cache=self.request.use_cache,
        )

    def record(self, candidate: Candidate) -> dict[str, Any]:
        """Everything that decides what is built of the candidate, as JSON."""
        quantization = None
        if candidate.method:
            method = self.quantization(candidate.method, dict(candidate.method_options))
            quantization = {
                "settings": method.settings(),
                "images": self.calibration.digests,
            }
        return {
            **self.identity(),
            **self.model.cache_identity(),
            "candidate": candidate.to_json(),
            "checks": [
                (pair.name, sha256_of_picture(pair.image_path)) for pair in self.check_pairs
            ],
            "quantization": quantization,
        }

    def identity(self) -> dict[str, Any]:
        """Which network it is for which runtime, as JSON."""
        return {
            **self.model.identity(),
            "shipped": self.model.is_shipped,
            "target": self.device.name,
            "runtime": self.runtime.name,
            "options": self.runtime.options.to_json(),
        }
