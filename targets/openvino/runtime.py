"""Runtime `openvino`: OpenVINO on a CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from edgeseg.errors import TargetError, reason_of
from edgeseg.formats.openvino_ir import fits_half, save_ir
from edgeseg.lazy import is_installed, require
from edgeseg.lower.rewrites import rewrites_for
from edgeseg.records import ONNX_FORMAT, Artifact

from ..base import HALF_FLAGS, Runtime, Written
from .folding import fold_constants
from .pooling import correct_padded_means
from .repairs import guard_pooled_activations, guard_quantized_graph

MODEL_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"
# INT8 would quantize the identity with the weights beside it.
SUM_REWRITES = ("split-by-pointwise", "sum-into-pointwise")
# Convolutions that compute statistics, and what makes room for them.
NORM_REWRITES = (
    "group-norm-by-channel",
    "affine-after-pooling",
    "mean-by-pooling",
    "norms-after-concat",
    "pointwise-before-norm",
    "layer-norm-by-convolution",
)
INT8_REWRITES = rewrites_for(
    "channels-last", without=("nearest-by-shuffle", *SUM_REWRITES, *NORM_REWRITES)
)
FLOAT_REWRITES = (*INT8_REWRITES, *SUM_REWRITES, *NORM_REWRITES)


class OpenVinoRuntime(Runtime):
    """FP32, BF16 and INT8 as OpenVINO IR.

    OpenVINO computes float graphs in BF16 of its own accord on CPUs that have it, which moves
    masks. The precision is therefore always stated: artefacts are saved with full FP32 weights,
    and `runtime_settings` holds the inference precision that the runner must ask for.
    """

    name = "openvino"
    devices = ("intel",)
    title = "OpenVINO on x86 and ARM CPUs"
    artifact_format = "openvino-ir"
    quantized_from = ("openvino-ir", ONNX_FORMAT)
    compiled_precisions = ("fp32", "bf16")
    quantized_precisions = ("int8",)
    build_packages = ("openvino",)
    run_packages = ("openvino",)
    backend_module = "edgeseg.targets.runners.openvino_backend"
    profiler = "edgeseg.targets.profiling.openvino:profile_layers"
    plan_defaults: ClassVar[Mapping[str, str]] = {
        "quantize_outputs": "false",
        "zero_points": "true",
        "weight_bits": "7",
    }
    rewrites: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fp32": FLOAT_REWRITES,
        "bf16": FLOAT_REWRITES,
        "int8": INT8_REWRITES,
    }

    def refusal(self, precision: str) -> str | None:
        if precision == "bf16" and is_installed("openvino"):
            capabilities = self._core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if "BF16" not in capabilities:
                return (
                    "the CPU has no BF16 instructions (AVX512_BF16 or AMX), and emulating them "
                    "would be slower than FP32"
                )
        return None

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        model = self._read(onnx_path)
        fold_constants(model)
        if precision in self.quantized_precisions:
            guard_quantized_graph(model)
        guard_pooled_activations(model)
        correct_padded_means(model)
        # What is computed in BF16 loses nothing by weights of half precision, which have more
        # bits, if they have enough range.
        half = precision == "bf16" and fits_half(model)
        save_ir(model, folder / MODEL_FILE, half=half)
        return Written((MODEL_FILE, WEIGHTS_FILE))

    def compile_plain(self, onnx_path: Path, folder: Path) -> Artifact:
        model = self._read(onnx_path)
        openvino = require("openvino", purpose="Building for openvino")
        folder.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)
        return self._artifact(folder, "fp32", Written((MODEL_FILE, WEIGHTS_FILE)))

    def _read(self, onnx_path: Path) -> Any:
        try:
            # read_model rather than convert_model: the latter reports usage over the network.
            return self._core().read_model(onnx_path)
        except RuntimeError as error:
            raise TargetError(
                f"OpenVINO does not read {onnx_path.name}: {reason_of(error)}. "
                "If it names an operator, replace that in the model; otherwise export it again."
            ) from error

    def finish(self, artifact: Artifact) -> None:
        path = artifact.folder / MODEL_FILE
        model = self._core().read_model(path)
        if guard_quantized_graph(model):
            # The file is mapped into memory while the model lives.
            with tempfile.TemporaryDirectory(dir=artifact.folder.parent) as folder:
                save_ir(model, Path(folder) / MODEL_FILE)
                del model
                for name in artifact.files:
                    (Path(folder) / name).replace(artifact.folder / name)

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        return {
            "device": "CPU",
            # What INT8 leaves in float is computed in FP32.
            "inference_precision": "bf16" if precision == "bf16" else "f32",
            "streams": 1,
        }

    def runtime_variants(self, precision: str) -> Mapping[str, Mapping[str, Any]]:
        if precision not in self.quantized_precisions or self.refusal("bf16") is not None:
            return {}
        return {"float part in bf16": {"inference_precision": "bf16"}}

    def half_variants(
        self, precision: str, cpu_flags: Collection[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        if precision == "bf16" or not {*HALF_FLAGS} <= {*cpu_flags}:
            return {}
        is_part = precision in self.quantized_precisions
        name = "float part in fp16" if is_part else "arithmetic in fp16"
        return {name: {"inference_precision": "f16"}}

    def notes(self) -> tuple[str, ...]:
        core = self._core()
        capabilities = ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        return (str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(), capabilities)

    @staticmethod
    def _core() -> Any:
        return require("openvino", purpose="The runtime openvino").Core()
