"""How external toolkits are called, with fakes of their packages."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeseg.benchmarks.workers.toolkits import ONNX, PROGRAM, TOOLKITS, Mnn, Ncnn


@pytest.mark.parametrize("name", TOOLKITS)
def test_every_toolkit_says_what_it_needs(name: str) -> None:
    toolkit = TOOLKITS[name]
    assert toolkit.source in (ONNX, PROGRAM)
    assert "numpy" in toolkit.packages
    assert ("torch" in toolkit.packages) == (toolkit.source == PROGRAM)
    assert toolkit.how[0].islower()
    for module in toolkit.modules:
        assert module.split(".", maxsplit=1)[0] in toolkit.packages


def test_mnn_converts_in_fp32_and_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def mnnconvert(words: list[str]) -> bool:
        asked.append(words)
        Path(words[words.index("--MNNModel") + 1]).touch()
        return True

    monkeypatch.setitem(sys.modules, "_tools", SimpleNamespace(mnnconvert=mnnconvert))
    # Importing this is what reports to the maker.
    monkeypatch.setitem(sys.modules, "MNN.tools", None)
    Mnn().convert(tmp_path / "model.onnx", tmp_path)
    (words,) = asked
    assert words[words.index("--modelFile") + 1] == str(tmp_path / "model.onnx")
    assert all(isinstance(word, str) for word in words)
    assert "--fp16" not in words


def test_mnn_that_writes_nothing_is_a_failure_whatever_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "_tools", SimpleNamespace(mnnconvert=lambda _: True))
    with pytest.raises(RuntimeError, match="MNNConvert wrote no network"):
        Mnn().convert(tmp_path / "model.onnx", tmp_path)


def test_mnn_runs_on_as_many_threads_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = []

    class Network:
        def forward(self, entries: list[Any]) -> list[Any]:
            return [SimpleNamespace(read=lambda: entries[0][:, :1] * 2)]

    nn = SimpleNamespace(
        create_runtime_manager=settings.append,
        load_module_from_file=lambda *_, **__: Network(),
    )
    expr = SimpleNamespace(NCHW="NCHW", const=lambda image, shape, layout: image.reshape(shape))
    monkeypatch.setitem(sys.modules, "MNN", SimpleNamespace(nn=nn, expr=expr))
    run = Mnn().open(tmp_path, 3)
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    assert np.array_equal(run(image), image[:, :1] * 2)
    assert settings == [({"backend": "CPU", "numThread": 3},)]


class FakeNcnn:
    """The package: a network that doubles the first channel.

    Args:
        load: Status of loading.
        run: Status of running.
    """

    def __init__(self, load: int = 0, run: int = 0) -> None:
        self.opt = SimpleNamespace()
        self._load, self._run = load, run

    def Net(self) -> Any:  # noqa: N802
        def extractor() -> Any:
            given: dict[str, Any] = {}
            return SimpleNamespace(
                input=given.__setitem__,
                extract=lambda name: (self._run, given["in0"][:1] * 2),
            )

        return SimpleNamespace(
            opt=self.opt,
            load_param=lambda path: self._load,
            load_model=lambda path: 0,
            input_names=lambda: ["in0"],
            output_names=lambda: ["out0"],
            create_extractor=extractor,
        )

    @staticmethod
    def Mat(array: Any) -> Any:  # noqa: N802
        assert array.ndim == 3
        return array


def test_ncnn_keeps_nothing_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ncnn = FakeNcnn()
    monkeypatch.setitem(sys.modules, "ncnn", ncnn)
    run = Ncnn().open(tmp_path, 2)
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    assert np.array_equal(run(image), image[:, :1] * 2)
    # Whatever is not named here stays as ncnn has it, such as Winograd and packing.
    assert vars(ncnn.opt) == {
        "num_threads": 2,
        "use_fp16_packed": False,
        "use_fp16_storage": False,
        "use_fp16_arithmetic": False,
        "use_bf16_storage": False,
    }


def test_ncnn_without_a_layer_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", FakeNcnn(load=-1))
    with pytest.raises(RuntimeError, match="ncnn does not load what pnnx wrote"):
        Ncnn().open(tmp_path, 1)


def test_ncnn_that_does_not_run_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", FakeNcnn(run=-100))
    run = Ncnn().open(tmp_path, 1)
    with pytest.raises(RuntimeError, match="does not run the network: status -100"):
        run(np.zeros((1, 3, 2, 2), np.float32))
