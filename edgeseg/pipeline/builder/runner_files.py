"""The files by which a bundle runs without edgeseg."""

from __future__ import annotations

from pathlib import Path

from edgeseg.lazy import module_file
from edgeseg.targets import Runtime


def runner_files(runtime: Runtime) -> dict[str, Path]:
    """Files of the installed edgeseg by their names in `runner/`."""
    modules = {
        "contract.py": "edgeseg.contract",
        "backend.py": runtime.backend_module,
        "golden.py": "edgeseg.bundle.golden",
        "identity.py": "edgeseg.bundle.identity",
        "run.py": "edgeseg.targets.runners.run",
        "device_bench.py": "edgeseg.targets.runners.device_bench",
        **runtime.runner_modules,
    }
    return {name: module_file(module) for name, module in modules.items()}
