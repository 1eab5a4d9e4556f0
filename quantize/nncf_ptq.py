"""Post-training quantisation of OpenVINO IR by NNCF."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError, reason_of
from edgeseg.formats.openvino_ir import save_ir
from edgeseg.lazy import installed_version, require
from edgeseg.progress import SILENT, Progress
from edgeseg.records import Artifact, QuantizationRecord

from .base import Quantizer
from .calibration_images import CalibrationImages


class NncfQuantizer(Quantizer):
    """NNCF's algorithm with its defaults for a CPU.

    Symmetric ranges from the calibration images' minima and maxima, per channel for weights,
    then fast bias correction. Source: Krishnamoorthi 2018, arXiv:1806.08342, and Nagel et al.
    2019, arXiv:1906.04721 (bias correction). Weights cover half of the quantized values, so that
    CPUs without VNNI do not saturate (see `RangeOptions.weight_bits`); NNCF does so in the first
    layer alone.
    """

    name = "nncf"
    artifact_format = "openvino-ir"
    packages = ("openvino", "nncf")

    def settings(self) -> dict[str, Any]:
        return {
            "preset": "performance",
            "target_device": "CPU",
            "fast_bias_correction": True,
            "overflow_fix": "enable",
        }

    def quantize(
        self,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
        progress: Progress = SILENT,
    ) -> tuple[Artifact, QuantizationRecord]:
        openvino = require("openvino", purpose="Quantising for openvino")
        settings = self.settings()
        with (
            _nncf_alone() as nncf,
            progress.stage("quantise with NNCF", total=len(images)) as stage,
        ):

            def feed(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
                stage.advance()
                return {images.input_name: image}

            model = openvino.Core().read_model(artifact.folder / artifact.files[0])
            try:
                with _quiet(nncf):
                    quantized = nncf.quantize(
                        model,
                        nncf.Dataset(list(images), feed),
                        preset=nncf.QuantizationPreset(settings["preset"]),
                        target_device=nncf.TargetDevice(settings["target_device"]),
                        subset_size=len(images),
                        fast_bias_correction=settings["fast_bias_correction"],
                        advanced_parameters=nncf.AdvancedQuantizationParameters(
                            overflow_fix=nncf.OverflowFix(settings["overflow_fix"])
                        ),
                    )
            except Exception as error:
                # NNCF raises its own kinds, OpenVINO's and plain ones.
                raise CalibrationError(
                    f"NNCF cannot quantise the graph: {reason_of(error)}. "
                    "Build with --precision fp32."
                ) from error
        save_ir(quantized, folder / artifact.files[0])
        made = artifact.quantized(folder, nncf=installed_version("nncf") or "unknown")
        kinds = [op.get_type_name() for op in quantized.get_ops()]
        layers = {
            "fake_quantize": kinds.count("FakeQuantize"),
            "convolutions": sum("Convolution" in kind for kind in kinds),
        }
        return made, QuantizationRecord(self.name, settings, images.digests, layers)


@contextlib.contextmanager
def _nncf_alone() -> Iterator[Any]:
    """NNCF without torch, which it imports where it can; OpenVINO's graphs do not need it, and it
    takes three times as long then. What has imported torch already keeps it."""
    # NNCF reports usage over the network unless this is set before its import.
    os.environ["NNCF_CI"] = "1"
    is_free = "torch" not in sys.modules
    if is_free:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield require("nncf", purpose="Quantising for openvino")
    finally:
        if is_free:
            del sys.modules["torch"]


@contextlib.contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Keep NNCF's log and progress bars off the terminal: edgeseg shows its own."""
    import logging

    logger = logging.getLogger("nncf")
    level = logger.level
    nncf.set_log_level(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
