"""Fixtures that all tests share.

The real data sets are looked for in `EDGESEG_DATA`, then beside the project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fake_adb
import pytest
from loopback_sshd import LoopbackSshd, missing_programs
from PIL import Image
from sharing import cache_of_graphs, compile_once, folder_of_run, make_once, one_worker_at_a_time
from support import (
    DATA_ENVIRONMENT,
    INSTALL_SCRIPT,
    REPORTED,
    ROOT,
    UNTESTED,
    draw_pair,
    loaded_again_elsewhere,
    loaded_again_here,
    native_optimised,
)

from edgeseg.lazy import prepare_environment

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.models import ModelSpec
    from edgeseg.records import Artifact

pytest_plugins = ("small_release",)
# Before any test imports what reads it.
prepare_environment()
# OpenMP's threads wait by spinning: beside other work, tiny networks get a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# The files that take longest, longest first; others come by their number of slow tests.
LONGEST = (
    "targets/native/test_networks.py",
    "targets/litert/test_runtime.py",
    "devices/test_arm64.py",
    "targets/native/test_operators.py",
    "cli/test_commands.py",
    "targets/native/test_generated_code.py",
    "docs/test_shown_commands_run.py",
    "lower/test_rewrites.py",
    "targets/test_contract_suite.py",
    "pipeline/measuring/test_remote.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest, so that no worker is left alone with one of them.

    Workers take whole files: fixtures of a module are made once, by the worker that has its file.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow") is not None)
    rank = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> tuple[int, int]:
        return rank.get(item.path, len(rank)), -slow[item.path]

    items.sort(key=place)  # stable: within a file nothing moves


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands what the summary tells to the process that prints it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["untested"], output["reported"] = sorted(UNTESTED), REPORTED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Of pytest-xdist: a worker has ended."""
    output = getattr(node, "workeroutput", {})  # a worker that died has none
    UNTESTED.update(output.get("untested", ()))
    REPORTED.extend(output.get("reported", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in REPORTED:
        terminalreporter.write_line(line)
    if UNTESTED:
        names = ", ".join(sorted(UNTESTED))
        terminalreporter.write_line(f"Not tested, because it is not here: {names}")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers; see `sharing`."""
    return folder_of_run(tmp_path_factory)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(shared_folder: Path) -> Iterator[Path]:
    """Keep the tests out of the user's cache; one cache for the whole run saves exports."""
    folder = shared_folder / "cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("EDGESEG_CACHE_DIR")
    os.environ["EDGESEG_CACHE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["EDGESEG_CACHE_DIR"]
    else:
        os.environ["EDGESEG_CACHE_DIR"] = before


@pytest.fixture(scope="session", autouse=True)
def brief_warm_up() -> Iterator[None]:
    """Warm up by two blocks: beside other work no latency settles, and the most are thirty.

    How long a warm-up goes on is tested by tests/benchmarks/test_latency.py.
    """
    from edgeseg.benchmarks import latency

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "WARM_UP_BLOCKS", 2)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_compiler() -> Iterator[None]:
    """Let native compile without optimisation, in a third of the time; see `as_it_ships`."""
    with native_optimised("-O0"):
        yield


@pytest.fixture(scope="session", autouse=True)
def one_process() -> Iterator[None]:
    """Let a build load its artefact again in this process: another takes a second to start."""
    with loaded_again_here():
        yield


@pytest.fixture
def second_process() -> Iterator[None]:
    """Let a build load its artefact again in another process, as users' builds do."""
    with loaded_again_elsewhere():
        yield


@pytest.fixture
def as_it_ships() -> Iterator[None]:
    """Let native compile as users get it."""
    with native_optimised("-O2"):
        yield


@pytest.fixture
def own_cache(
    cache_folder: Path,
    light_onnx: Path,  # which most of these tests build from
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A cache of this test's own; exported graphs are in it."""
    folder = cache_of_graphs(cache_folder, tmp_path / "cache")
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with isic2018_task1 and the others; skips where there is none."""
    for folder in (os.environ.get(DATA_ENVIRONMENT), ROOT.parent / "shared" / "data"):
        if folder and Path(folder).is_dir():
            return Path(folder)
    UNTESTED.add(f"real data (set {DATA_ENVIRONMENT})")
    pytest.skip(f"no real data: set {DATA_ENVIRONMENT}")


@pytest.fixture
def run_cli(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in this process: exit code, standard output and error."""
    from edgeseg.cli import main

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = ["edgeseg", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        output = capfd.readouterr()
        return subprocess.CompletedProcess(words, code, output.out, output.err)

    return run


@pytest.fixture
def make_data_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a data folder with small synthetic pairs: a dark disc on a light ground."""

    def make(
        count: int = 4, size: tuple[int, int] = (40, 56), *, name: str = "data", masks: bool = True
    ) -> Path:
        root = tmp_path / name
        (root / "images").mkdir(parents=True)
        if masks:
            (root / "masks").mkdir()
        for index in range(count):
            image, mask = draw_pair(size, seed=index)
            Image.fromarray(image).save(root / "images" / f"pair{index}.png")
            if masks:
                Image.fromarray(mask * 255).save(root / "masks" / f"pair{index}.png")
        return root

    return make


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained egeunet, always the same."""
    torch = pytest.importorskip("torch")
    from edgeseg.models import find_model
    from edgeseg.models.weights import save_weights

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, find_model("egeunet").make_network())
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> dict[str, Path]:
    """Bundles of the shipped egeunet for target intel, by precision. Copy one to change it."""
    for package in ("torch", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(package)
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    folder = tmp_path_factory.mktemp("bundles")
    made = {}
    for precision in ("fp32", "int8"):
        request = BuildRequest("egeunet", "intel", precision, folder / precision)
        # The second worker takes it from the cache.
        with one_worker_at_a_time(shared_folder, f"built-{precision}"):
            bundle, _ = build_bundle(request)
        made[precision] = bundle.folder
    return made


@pytest.fixture(scope="session")
def small_onnx(
    random_weights: Path, tmp_path_factory: pytest.TempPathFactory, shared_folder: Path
) -> Path:
    """ONNX file of that network for 64x64; exporting takes seconds, so it is done once.

    It comes from the cache of the run: `export_checked` of the same thing finds it there.
    """
    return export_once(
        "egeunet", random_weights, tmp_path_factory.mktemp("reference"), shared_folder
    )


@pytest.fixture(scope="session")
def light_onnx(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Path:
    """ONNX file of the shipped ulite for 64x64, from the cache of the run: few operators."""
    return export_once("ulite", None, tmp_path_factory.mktemp("light"), shared_folder)


def export_once(name: str, weights: Path | None, folder: Path, shared_folder: Path) -> Path:
    """A registered network for 64x64, checked on a drawn image; None takes the shipped weights."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from edgeseg.data.folder import Pair
    from edgeseg.models import find_model
    from edgeseg.records import sha256_of_file
    from edgeseg.reference.reference import export_checked, reference_images
    from edgeseg.reference.torch_reference import TorchReference

    path = folder / "disc.png"
    Image.fromarray(draw_pair((64, 64), seed=1)[0]).save(path)
    spec = find_model(name).at_size(64, 64)
    weights = spec.resolve_weights(weights)
    network = spec.load_network(weights)
    pairs = [Pair("disc", path, None)]
    with one_worker_at_a_time(shared_folder, f"export-{name}"):
        exported = export_checked(
            TorchReference(network, spec),
            spec,
            sha256_of_file(weights),
            lambda: reference_images(network, spec, pairs),
        )
    return exported.path


@pytest.fixture(scope="session")
def export_random(shared_folder: Path) -> Callable[[str], tuple[nn.Module, ModelSpec, Path]]:
    """Export a registered model with random weights, always the same, for 64x96: not square."""

    def export(name: str) -> tuple[nn.Module, ModelSpec, Path]:
        import torch

        from edgeseg.models import find_model
        from edgeseg.reference.onnx_export import onnx_from_torch

        torch.manual_seed(7)
        spec = find_model(name).at_size(64, 96)
        network = spec.make_network().eval()
        path = make_once(
            shared_folder,
            f"random-{name}.onnx",
            lambda path: onnx_from_torch(network, spec.inputs, spec.outputs, path),
        )
        return network, spec, path

    return export


@pytest.fixture(scope="session")
def small_artifact(small_onnx: Path, shared_folder: Path) -> Callable[..., Artifact]:
    """What a runtime makes of `small_onnx`, by its name and a precision. Copy it to change it."""

    def compiled(runtime: str, precision: str = "fp32") -> Artifact:
        return compile_once(shared_folder, runtime, small_onnx, precision)

    return compiled


@pytest.fixture
def start_sshd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., LoopbackSshd]]:
    """Start sshd on loopback, with further lines of configuration; our ssh knows the way in."""
    missing = missing_programs()
    if missing:
        UNTESTED.add(f"ssh devices (run {INSTALL_SCRIPT})")
        pytest.skip(f"not installed: {', '.join(missing)}; run {INSTALL_SCRIPT}")
    daemons: list[LoopbackSshd] = []

    def start(*settings: str) -> LoopbackSshd:
        daemons.append(LoopbackSshd(tmp_path / f"sshd{len(daemons)}", *settings))
        path = f"{daemons[-1].client}{os.pathsep}{os.environ['PATH']}"
        monkeypatch.setenv("PATH", path)
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def adb_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a fake device that a fake adb reaches."""
    if shutil.which("mksh") is None:
        UNTESTED.add(f"adb devices (run {INSTALL_SCRIPT})")
        pytest.skip(f"no mksh, Android's shell; run {INSTALL_SCRIPT}")
    root = tmp_path / "adb_device"
    for name, value in fake_adb.install(tmp_path / "adb", root).items():
        monkeypatch.setenv(name, value)
    return root


@pytest.fixture(scope="session")
def small_bundles(shared_folder: Path) -> dict[str, Path]:
    """Bundles of the shipped egeunet for runtime onnxruntime at 64x64, by precision."""
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    def build(precision: str) -> Path:
        def make(output: Path) -> None:
            request = BuildRequest(
                "egeunet",
                "onnxruntime",
                precision,
                output,
                size=(64, 64),
                calibration_images=8,
            )
            build_bundle(request)

        return make_once(shared_folder, f"small-{precision}", make)

    return {precision: build(precision) for precision in ("fp32", "int8")}
