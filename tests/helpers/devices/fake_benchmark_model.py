#!/usr/bin/env python3
"""A fake of LiteRT's benchmark_model: it prints in its words, and computes with ai-edge-litert.

FAKE_BENCHMARK says what it cannot do: "no outputs", "no memory", "fails" or "hangs".
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

CANNOT = os.environ.get("FAKE_BENCHMARK", "")
HELP = """usage: benchmark_model
Flags:
	--num_runs=50                	int32	optional	expected number of runs
	--graph=                     	string	optional	graph file name
	--input_layer_value_files=   	string	optional	A map-like string
"""
OUTPUTS = "\t--output_filepath=           \tstring\toptional\tFile path to export outputs\n"


def main() -> int:
    if "--help" in sys.argv:
        print(HELP + ("" if CANNOT == "no outputs" else OUTPUTS), file=sys.stderr)
        return 1
    flags: dict[str, str] = {}
    for word in sys.argv[1:]:
        name, _, value = word.removeprefix("--").partition("=")
        flags[name] = value
    if CANNOT == "fails":
        print("ERROR: Op builtin_code out of range: 207. Are you using an old TFLite binary?")
        print("ERROR: Failed to allocate tensors!")
        return 1
    if CANNOT == "hangs":
        time.sleep(86400)
    from ai_edge_litert.interpreter import Interpreter

    started = time.perf_counter()
    interpreter = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    init_us = (time.perf_counter() - started) * 1e6
    assert flags["input_layer_shape"] == ",".join(map(str, source["shape"]))
    name, _, path = flags["input_layer_value_files"].partition(":")
    assert name == flags["input_layer"]
    image = np.fromfile(path, source["dtype"]).reshape(source["shape"])
    interpreter.set_tensor(source["index"], image)
    (first,) = invoke(interpreter, 1)
    latencies = invoke(interpreter, int(flags["num_runs"]))
    mean = np.mean(latencies)
    print("INFO: STARTING!\nINFO: Log parameter values verbosely: [0]")
    print(f"INFO: Graph: [{flags['graph']}]\nINFO: count=1 curr={first:.0f}\n")
    print(
        f"INFO: count={len(latencies)} first={latencies[0]:.0f} curr={latencies[-1]:.0f} "
        f"min={min(latencies):.0f} max={max(latencies):.0f} avg={mean:g} std=3\n"
    )
    print(
        f"INFO: Inference timings in us: Init: {init_us:.0f}, First inference: {first:.0f}, "
        f"Warmup (avg): {first:g}, Inference (avg): {mean:g}"
    )
    if CANNOT != "no memory":
        print("INFO: Memory footprint delta from the start of the tool (MB): init=2.5 overall=7.25")
    if "output_filepath" in flags:
        interpreter.get_tensor(result["index"]).tofile(flags["output_filepath"])
    return 0


def invoke(interpreter: Any, count: int) -> list[float]:
    latencies = []
    for _ in range(count):
        started = time.perf_counter()
        interpreter.invoke()
        latencies.append((time.perf_counter() - started) * 1e6)
    return latencies


if __name__ == "__main__":
    sys.exit(main())
