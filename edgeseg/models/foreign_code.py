"""Code of the user's own, which may raise anything: each exception becomes a message."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from ..errors import EdgesegError, UsageError, reason_of
from ..storage.cache import cache_root


@contextlib.contextmanager
def foreign_code(what: str, advice: str) -> Iterator[None]:
    """Run code that edgeseg does not contain.

    Args:
        what: What failed, when something does: "nets.py cannot be imported".
        advice: What to do then, as a sentence.

    Raises:
        UsageError: The code raised an exception, or asked the process to end.
    """
    try:
        yield
    except EdgesegError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and type(error) is not SystemExit:
            raise  # a signal asks for it, and not the code
        if isinstance(error, OSError) and _is_in_cache(error.filename):
            raise  # torch writes there, too
        reason = f"{place_of(error)}{type(error).__name__}: {reason_of(error)}"
        raise UsageError(
            f"{what} ({reason}). {advice} EDGESEG_DEBUG=1 shows where it was raised."
        ) from error


def _is_in_cache(place: object) -> bool:
    return isinstance(place, str) and Path(place).is_relative_to(cache_root())


def place_of(error: BaseException) -> str:
    """File and line of the user's code that an exception went through last, as a prefix.

    It is "nets.py, line 7: ", and empty where no line is of a user's file. Those of edgeseg, of
    Python and of installed packages are none.
    """
    installed = (sys.prefix, *(sysconfig.get_path(name) for name in ("stdlib", "purelib")))
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        is_edgeseg = module.partition(".")[0] == __name__.partition(".")[0]
        is_installed = "site-packages" in file or "dist-packages" in file
        if not (is_edgeseg or is_installed or file.startswith(("<", *installed))):
            return f"{Path(file).name}, line {line}: "
    return ""
