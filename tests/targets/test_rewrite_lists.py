"""The lists of rewrites that runtimes derive, as they were when each stated its own."""

from __future__ import annotations

from edgeseg.targets import find_runtime

ONNXRUNTIME = (
    "softmax-by-sigmoid",
    "box-by-depthwise",
    "merge-parallel",
    "batch-norm-into-sum",
    "batch-norm-into-next",
    "dense-stem",
    "stride-before-dilation",
    "norms-after-concat",
    "pointwise-before-norm",
    "layer-norm-by-convolution",
    "concat-by-sum",
    "pointwise-before-resize",
    "merge-pointwise",
    "split-by-pointwise",
    "sum-into-pointwise",
    "resize-maps-by-matrices",
    "thin-pointwise-by-product",
    "prelu-by-depthwise",
    "resize-of-opset-17",
)
OPENVINO_INT8 = (
    "fold-constants",
    "softmax-by-sigmoid",
    "box-by-depthwise",
    "gate-after-concat",
    "dense-pointwise",
    "merge-parallel",
    "batch-norm-into-sum",
    "batch-norm-into-next",
    "dense-stem",
    "depthwise-after-concat",
    "depthwise-of-copies",
    "stride-before-dilation",
    "concat-by-sum",
    "pointwise-before-resize",
    "merge-pointwise",
    "resize-by-matrices",
    "concat-of-planes",
)
OPENVINO_FLOAT = (
    *OPENVINO_INT8,
    "split-by-pointwise",
    "sum-into-pointwise",
    "group-norm-by-channel",
    "affine-after-pooling",
    "mean-by-pooling",
    "norms-after-concat",
    "pointwise-before-norm",
    "layer-norm-by-convolution",
)
LITERT = (
    "fold-constants",
    "group-norm-by-channel",
    "affine-after-pooling",
    "mean-by-pooling",
    "softmax-by-sigmoid",
    "box-by-depthwise",
    "gate-after-concat",
    "dense-pointwise",
    "merge-parallel",
    "batch-norm-into-sum",
    "batch-norm-into-next",
    "dense-stem",
    "depthwise-after-concat",
    "stride-before-dilation",
    "norms-after-concat",
    "pointwise-before-norm",
    "layer-norm-by-convolution",
    "concat-by-sum",
    "pointwise-before-resize",
    "merge-pointwise",
    "nearest-by-shuffle",
)


def test_lists_of_the_runtimes() -> None:
    assert find_runtime("onnxruntime").rewrites == {"fp32": ONNXRUNTIME}
    assert find_runtime("openvino").rewrites == {
        "fp32": OPENVINO_FLOAT,
        "bf16": OPENVINO_FLOAT,
        "int8": OPENVINO_INT8,
    }
    assert find_runtime("litert").rewrites == {"fp32": LITERT, "fp16": LITERT, "int8": LITERT}
    assert find_runtime("tensorrt").rewrites == {}
    assert find_runtime("tensorrt-rtx").rewrites == {}
