"""A compiler for small segmentation networks: from an ONNX graph to C, and to a library.

`frontend` reads a graph as a `Program` of steps (`ir`) over values and expressions
(`expressions`), `passes` fuse steps, `strips` finds steps that run on a few rows at a
time, `layout` gives values their places in memory, `kernels` write
the C of each step, `source` puts it together, `interface` adds the C interface and `compiler`
calls a C compiler. `runtime` offers all this as the runtime `native`.
"""
