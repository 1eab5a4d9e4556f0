"""Reading checkpoints as they are found, without running anything that is in them."""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import WeightsError

# Where the parameters lie in a checkpoint, the averaged ones first: they are what is deployed.
AVERAGED = (
    "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "ema", "module_ema",
    "ema_weights", "model_averaged",
)  # fmt: skip
WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "network_weights")
UNKNOWN = len(WRAPPERS) + 1  # rank of a state under another key
DEEPEST = 4  # mappings within mappings
# How torch's weights-only reader words its refusal to import something that a pickle names.
FOREIGN_CODE = re.compile(
    r"Unsupported (global|class)|not allowed|was not an allowed global|unsupported GLOBAL"
)
SAVE_STATE = "Save only the weights, torch.save(model.state_dict(), ...), or safetensors"
AGAIN = "Copy or download it again."


class _Inert:
    """Stands for an object that is no tensor: it takes what a pickle says of it and does nothing.

    Names that pickles of training frameworks hold beside the weights are looked up here, so that
    the classes themselves are neither imported nor run.
    """

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Entries:
    """Stands for a class of dicts: a pickle that makes one gets a plain dict."""

    def __new__(cls, *args: Any) -> Any:
        return {}


INERT = (
    "argparse.Namespace", "types.SimpleNamespace",
    "pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "pathlib.WindowsPath",
    "pathlib.PurePosixPath", "pathlib.PureWindowsPath",
    "pathlib._local.Path", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
    "datetime.datetime", "datetime.date", "datetime.timedelta", "datetime.timezone", "uuid.UUID",
    "builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.list",
    "builtins.tuple", "builtins.frozenset", "builtins.slice", "builtins.range",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.ndarray", "numpy.dtype", "typing.Any",
    "mmengine.logging.history_buffer.HistoryBuffer", "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata", "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode", "omegaconf.nodes.StringNode",
    "torch.torch_version.TorchVersion",
)  # fmt: skip
ENTRIES = (
    "builtins.dict", "collections.defaultdict", "easydict.EasyDict", "addict.addict.Dict",
    "yacs.config.CfgNode", "fvcore.common.config.CfgNode", "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict", "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
)  # fmt: skip


def read_file(path: Path) -> Any:
    """What a checkpoint holds, objects that are neither plain data nor tensors left out.

    Raises:
        WeightsError: The file is missing, of another kind, damaged or cut, or holds code.
    """
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder, not a checkpoint. Name the file in it that holds the weights."
        )
    if not path.is_file():
        raise WeightsError(f"No weights file at {path}. Check the path.")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"PK"):
        _require_checkpoint(path)
    if start.startswith((b"PK", b"\x80")):
        return _read_pickle(path)
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise WeightsError(f"{path} {_kind_by_start(start, path)}")


def _kind_by_start(start: bytes, path: Path) -> str:
    """What a file is that is no checkpoint, and what to do."""
    if not start:
        return f"is empty. {AGAIN}"
    if start.startswith(b"\x89HDF"):
        return f"is an HDF5 file, as Keras writes them. {SAVE_STATE} of the PyTorch module."
    if start[4:8] == b"TFL3":
        return f"is a TFLite model, not a checkpoint. {SAVE_STATE} of the PyTorch module."
    if path.suffix == ".onnx":
        return f"is an ONNX model, not a checkpoint. {SAVE_STATE} of the PyTorch module."
    if start.startswith(b"\x1f\x8b"):
        return "is a gzip archive. Unpack it, and name the checkpoint in it."
    return f"is not a PyTorch or safetensors checkpoint, or it is damaged. {AGAIN}"


def _require_checkpoint(path: Path) -> None:
    """Refuse zip archives that hold a whole model, or something else than torch's pickles.

    Raises:
        WeightsError: Names the kind, or an entry that is there twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # torch says what is wrong with it
    if doubles := {name for name in names if names.count(name) > 1}:
        raise WeightsError(
            f"{path} holds {min(doubles)} twice: readers would differ in which they take. {AGAIN}"
        )
    inner = {name.partition("/")[2] for name in names}
    if any(name.endswith("constants.pkl") for name in names) and any(
        name.startswith("code/") for name in inner
    ):
        kind = "is a whole model in TorchScript: it holds code beside the weights"
        how = "Load it with torch.jit.load(...) and save its weights: "
    elif {"serialized_exported_program.json", "archive_format"} & ({*names} | inner) or any(
        name.startswith("models/") for name in inner | {*names}
    ):
        kind = "is a whole model that torch.export saved, a .pt2 archive"
        how = "Load it with torch.export.load(...) and save its state_dict: "
    elif names and all(name.endswith(".npy") for name in names):
        kind = "is an archive of NumPy arrays"
        how = "Turn the arrays into a state_dict and save it: "
    else:
        return
    raise WeightsError(
        f"{path} {kind}. {how}torch.save(program.state_dict(), ...). EdgeSeg needs the module's "
        "class and its weights."
    )


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(_damaged(path, error)) from error


def _read_pickle(path: Path) -> Any:
    allowed = [(_Inert, name) for name in INERT] + [(_Entries, name) for name in ENTRIES]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files make torch's reader fail in many ways; only one of them is about code.
        if FOREIGN_CODE.search(str(error)) or _is_newer_pickle(path, error):
            raise WeightsError(
                f"{path} holds more than tensors{_named(error)}: loading it would run code from "
                f"the file, so it was refused. {SAVE_STATE}, where you trust the file."
            ) from error
        raise WeightsError(_damaged(path, error)) from error


def _named(error: Exception) -> str:
    """The class that a pickle asks for, where torch's reader names it."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" (an object of {found[1]})" if found else ""


def _is_newer_pickle(path: Path, error: Exception) -> bool:
    """Whether torch refused a whole pickle for a protocol that it never writes itself."""
    if "Unsupported operand" not in str(error):
        return False
    try:
        for _ in pickletools.genops(path.read_bytes()):  # reads, runs nothing
            pass
    except Exception:
        return False
    return True


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "weights_only" in reason:
        reason = type(error).__name__  # torch's words advise to load it unsafely
    return f"{path} is not a whole PyTorch or safetensors checkpoint ({reason}). {AGAIN}"


def states_of(raw: Any) -> dict[str, dict[str, Tensor]]:
    """Every mapping from names to tensors in a checkpoint, by the keys that lead to it.

    Those that are averages over the training come first, then those of the usual keys.
    """
    found = dict(_states(raw, "", set(), 0))
    return dict(sorted(found.items(), key=lambda item: rank_of(item[0])))


def rank_of(place: str) -> int:
    """Which state is taken first: 0 for averages, then the usual keys, `UNKNOWN` for others."""
    keys = place.split("/")
    if any(key in AVERAGED for key in keys):
        return 0
    known = [WRAPPERS.index(key) + 1 for key in keys if key in WRAPPERS]
    return min(known, default=UNKNOWN if place else 1)


def _states(
    raw: Any, place: str, seen: set[int], depth: int
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(raw, Mapping) or id(raw) in seen or depth > DEEPEST:
        return
    seen.add(id(raw))
    named = {name: part for name, part in raw.items() if isinstance(name, str)}
    tensors = {name: part for name, part in named.items() if isinstance(part, Tensor)}
    if tensors:
        yield place, tensors
    for name, part in named.items():
        yield from _states(part, f"{place}/{name}" if place else name, seen, depth + 1)
