"""Code of the user's own, which may raise anything: each exception becomes a message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import EdgesegError, UsageError, reason_of


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
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise UsageError(
            f"{what} ({reason}). {advice} EDGESEG_DEBUG=1 shows where it was raised."
        ) from error
