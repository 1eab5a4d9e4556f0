from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeseg.errors import UsageError
from edgeseg.pipeline.builder.device_settings import DeviceSettings
from edgeseg.pipeline.fleet import sweep_file
from edgeseg.pipeline.fleet.plan import SweepPlan
from edgeseg.pipeline.fleet.sweep_file import read_sweep_file, sweep_file_text

START = 'models = ["egeunet"]\ntargets = ["intel", "onnxruntime"]\n'


def read(folder: Path, text: str) -> SweepPlan:
    path = folder / "sweep.toml"
    path.write_text(text)
    return read_sweep_file(path)


def test_two_lists_are_enough(tmp_path: Path) -> None:
    plan = read(tmp_path, START)
    assert plan == SweepPlan(("egeunet",), ("intel", "onnxruntime"))
    assert [(point.target, point.precision) for point in plan.points()] == [
        ("intel", "fp32"),
        ("intel", "int8"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    ]


def test_the_file_that_the_module_shows_is_read(tmp_path: Path) -> None:
    text = (sweep_file.__doc__ or "").partition("\n\n")[2]
    for name in ("runs/egeunet/best.safetensors", "tiny.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "data" / "isic2018").mkdir(parents=True)
    text = text.replace('["egeunet", "ulite"]', '["egeunet", "ulite", "tiny_net:TinyNet"]')
    text = text.replace('["intel", "onnxruntime"]', '["intel", "onnxruntime", "native"]')
    plan = read(tmp_path, text)
    assert plan.sizes == ((256, 256),)
    assert plan.threads == (1, 2)
    assert plan.runtimes == {"intel": ("openvino", "native")}
    assert plan.weights == {"egeunet": tmp_path / "runs/egeunet/best.safetensors"}
    assert plan.options == {"native": {"isa": "here"}}
    assert plan.addresses == {"pi5": DeviceSettings("ssh://pi@pi5.local")}
    assert plan.exclude == ({"model": ("ulite",), "precision": ("int8",)},)
    # Three models on four runtimes, in two precisions, with two threads on two devices, but for
    # those of one model in one precision.
    assert len(plan.points()) == (3 * 2 - 1) * 4 * 2 * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "is no TOML: .*Correct it"),
        ('models = ["egeunet"]', "lacks targets. Add a list"),
        (START + '[runtimes]\nintel = ["tensorrt"]', "has no runtime 'tensorrt'. Available"),
        (START + 'presicions = ["int8"]', "no entry 'presicions'. Did you mean precisions"),
        (START + 'precisions = ["../int8"]', "'../int8' is no name of a precision"),
        (START + 'devices = ["pi\'5"]', "is no name of .*Write letters, digits"),
        (START + "precisions = []", "precisions is empty.*Name one or leave it out"),
        (START + 'precisions = ["int8", "int8"]', "precisions names int8 twice. Name it once"),
        (START + 'sizes = ["64x64", "64X64"]', "sizes names 64x64 twice"),
        (START + 'sizes = ["64"]', "'64' is no size. Write height x width"),
        (START + 'sizes = ["9999x64"]', "is no size"),
        (START + "threads = [0]", "threads is 0, which is no whole number above zero"),
        (START + "threads = [true]", "threads is True"),
        (START + "threads = 2", r"which is no list of numbers. Write \[1, 2\]"),
        (START + 'precisions = "int8"', r"which is no list of names. Write \[\"...\"\]"),
        (START + "runs = 1.5", "runs is 1.5"),
        (START.replace("egeunet", "tiny:Tiny"), r"nothing describes it. Write \[spec\]"),
        (START.replace("intel", "intle"), "Unknown target 'intle'. Did you mean intel"),
        (START + "[weights]\nulite = 'w'", "names .*w, which does not exist. Correct the path"),
        (START + "[data]\nulite = '.'", r"data names ulite, which is not swept. Add it"),
        (START + "[runtimes]\nandroid = ['litert']", "runtimes names android, which is not swept"),
        (START + "[runtimes]\nintel = []", "runtimes of intel is empty"),
        (START + "[device.pi5]\naddress = 'ssh://pi'", "device names pi5, which is not swept"),
        (START + "[device.pi5]\npython = 'python3'", "The device pi5 has no address"),
        (START + "[device.pi5]\nadress = 'x'", "no entry 'adress'. Did you mean address"),
        (START + "[device.pi5]\naddress = 'http://x'", "ssh://USER@HOST"),
        (START + "[device.local]\naddress = 'ssh://pi'", "is this machine. Give the other one"),
        (START + "[[exclude]]\nmodle = 'ulite'", "no axis 'modle'. Did you mean model"),
        (START + "[[exclude]]\nmodel = 'ulite'", r"takes no cell out. Correct its values"),
        (START + "[[exclude]]\nmodel = 'egeunet'", "Every cell is excluded"),
        (START + "exclude = 'ulite'", r"Write \[\[exclude\]\]"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path, text)
    assert "sweep.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Check the path"):
        read_sweep_file(tmp_path / "gone.toml")


def test_exclusions_take_lists(tmp_path: Path) -> None:
    plan = read(
        tmp_path,
        START + 'sizes = ["64x64", "96x96"]\nthreads = [1, 2]\n'
        '[[exclude]]\nsize = ["64x64"]\nthreads = [1, 2]\ntarget = "intel"\n',
    )
    points = plan.points()
    assert len(points) == 2 * 2 * 2 * 2 - 2 * 2
    assert {point.size for point in points if point.target == "intel"} == {(96, 96)}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("")
    plan = SweepPlan(
        ("egeunet",),
        ("intel",),
        sizes=((64, 96),),
        weights={"egeunet": tmp_path / "w.safetensors"},
        data={"egeunet": tmp_path},
        images=5,
        runs=7,
        splits=("test",),
    )
    assert read(tmp_path, sweep_file_text(plan)) == plan
    bare = replace(plan, sizes=(None,), images=None, weights={}, data={})
    assert read(tmp_path, sweep_file_text(bare)) == bare


def test_names_tell_what_differs() -> None:
    plan = SweepPlan(
        ("net:Net", "ulite"),
        ("intel",),
        ("int8",),
        sizes=((64, 64), None),
        threads=(1, 2),
        specs={"net:Net": Path("net.toml")},
    )
    first, second, *_ = plan.points()
    assert plan.words(first) == "net intel int8 64x64 1 thread"
    assert plan.words(second) == "net intel int8 64x64 2 threads"
    assert plan.condition(plan.points()[2]) == "own size 1 thread"
    assert first.folder == second.folder == "net-intel-int8-64x64"


def test_a_search_takes_place_on_the_device_that_is_measured(tmp_path: Path) -> None:
    pi5 = DeviceSettings("ssh://pi@pi5")
    plan = SweepPlan(
        ("egeunet",),
        ("onnxruntime",),
        ("auto", "int8"),
        devices=("local", "pi5"),
        addresses={"pi5": pi5},
    )
    requests = [plan.request(point, tmp_path) for point in plan.points()]
    assert [request.device for request in requests] == [None, pi5, None, None]
    assert [request.output.name for request in requests if request.output] == [
        "egeunet-onnxruntime-auto",
        "egeunet-onnxruntime-auto-pi5",
        "egeunet-onnxruntime-int8",
        "egeunet-onnxruntime-int8",
    ]
