"""Making a network from what a spec says: a class or factory, and arguments that TOML can write."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from functools import reduce
from typing import Any

from ..errors import UsageError
from .foreign_code import foreign_code

NONE = "None"
STANDARD = sys.stdlib_module_names | {"builtins"}
PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def find_object(path: str) -> Any:
    """What "package.module:name" means; the name may have dots.

    Raises:
        UsageError: There is no such module or name, or the module's code fails.
    """
    module_name, _, name = path.partition(":")
    try:
        with foreign_code(
            f"{module_name} cannot be imported",
            "Correct its code; parse_args() belongs under if __name__ == '__main__'.",
        ):
            module = importlib.import_module(module_name)
    except UsageError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and _is_part(cause.name, module_name):
            raise UsageError(
                f"Cannot find the module {module_name} of {path}. Run the command where Python can "
                "import it, or set PYTHONPATH."
            ) from cause
        raise
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError as error:
        raise UsageError(
            f"The module {module_name} has no {name}. Name a class that it defines, as in "
            f"{module_name}:Class."
        ) from error


def make_module(path: str, arguments: Mapping[str, Any]) -> Any:
    """Call the class or function at a place; what it gives is a torch module.

    Raises:
        UsageError: `path` names something else, or the call fails.
    """
    import torch

    maker = find_object(path)
    is_network = isinstance(maker, type) and issubclass(maker, torch.nn.Module)
    # No function of Python's own makes a network, and calling one can do harm.
    is_other = isinstance(maker, type) or path.partition(":")[0].partition(".")[0] in STANDARD
    if (is_other and not is_network) or not callable(maker) or isinstance(maker, torch.nn.Module):
        raise UsageError(
            f"{path} is no torch.nn.Module. Name the network's class, or a function that makes it."
        )
    is_own = path.startswith(f"{__name__.partition('.')[0]}.")
    given = (
        dict(arguments)
        if is_own
        else {name: read_argument(value) for name, value in arguments.items()}
    )
    with (
        foreign_code(
            f"{path} does not start with the arguments {dict(arguments)}",
            "Correct [arguments] in the spec, or the constructor.",
        ),
    ):
        network = maker(**given)
        if not isinstance(network, torch.nn.Module):
            raise UsageError(
                f"{path} gives a {type(network).__name__}, which is no torch.nn.Module. Let it "
                "return the network."
            )
    return network


def _is_lazy(tensor: Any) -> bool:
    import torch

    return bool(torch.nn.parameter.is_lazy(tensor))


def materialise(network: Any, shape: tuple[int, ...], path: str) -> None:
    """Let lazy layers learn their shapes from one empty image.

    Raises:
        UsageError: The network does not take the image.
    """
    import torch

    if not any(_is_lazy(one) for one in (*network.parameters(), *network.buffers())):
        return
    was_training = network.training
    with (
        foreign_code(
            f"{path} does not take an image of {shape[2]}x{shape[3]}",
            "Correct height, width and stride in the spec.",
        ),
        torch.no_grad(),
    ):
        network.eval()(torch.zeros(shape))
    network.train(was_training)


def read_argument(value: Any) -> Any:
    """The value that a spec means: "None" is None, "module:name" what that module has there.

    {text = "..."} keeps a text that looks like one of these.

    Raises:
        UsageError: As `find_object`.
    """
    if isinstance(value, Mapping):
        if value.keys() == {"text"}:
            return value["text"]
        return {name: read_argument(one) for name, one in value.items()}
    if isinstance(value, list):
        return [read_argument(one) for one in value]
    if value == NONE:
        return None
    if isinstance(value, str) and PLACE.fullmatch(value):
        return find_object(value)
    return value


def names_code(value: Any) -> bool:
    """Whether making a network of these arguments would import something, or could."""
    if isinstance(value, Mapping):
        return any(map(names_code, value.values()))
    if isinstance(value, list | tuple):
        return any(map(names_code, value))
    return isinstance(value, str) and PLACE.fullmatch(value) is not None


def require_plain(value: Any, name: str) -> None:
    """Refuse what a manifest cannot hold, such as a date.

    Raises:
        ValueError: Names the entry.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            require_plain(one, f"{name}.{key}")
    elif isinstance(value, list):
        for one in value:
            require_plain(one, name)
    elif not isinstance(value, (str, int, float, bool)):
        raise ValueError(f"{name} is {value!r}, which is no text, number, list or table.")


def _is_part(name: str | None, module_name: str) -> bool:
    """Whether `name` is the module itself or a package around it, and nothing that it imports."""
    return name is not None and f"{module_name}.".startswith(f"{name}.")
