"""From ONNX to a program, nothing fused."""
