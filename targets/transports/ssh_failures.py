"""What ssh's own messages mean, and what to do."""

from __future__ import annotations

import errno

from .address import SshAddress
from .base import tail

SSH_FAILED = 255  # exit code of ssh for its own failures; others are the remote command's
NOT_FOUND = 127  # exit code of a shell that does not find a command
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def explain_refusal(address: SshAddress, python: str, code: int, stderr: str) -> str:
    """Why there is no connection, or no agent at its other end, and what to do.

    Args:
        code: ssh's exit code.
        stderr: Its standard error, with the output of the device there.
    """
    by_hand = f"ssh{f' -p {address.port}' if address.port else ''} {address.destination}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in stderr:
        return (
            f"The host key of {address} is not the one that ssh knows: the device was set up anew, "
            "or another machine answers in its place. Find out which; then remove the old key with "
            "ssh-keygen -R."
        )
    if "Host key verification failed" in stderr:
        return (
            f"ssh does not know the host key of {address}. Connect once by hand with '{by_hand}', "
            "compare the fingerprint with the device's own, and accept it."
        )
    if "Permission denied (" in stderr or "Too many authentication failures" in stderr:
        return (
            f"{address} does not accept any of your keys. Install one there with ssh-copy-id, or "
            "name the right one in ~/.ssh/config (IdentityFile); passwords are not asked for."
        )
    if "Could not resolve hostname" in stderr:
        return f"There is no host called {address.host} ({tail(stderr)}). Check --device."
    if code == SSH_FAILED:
        return (
            f"{address} cannot be reached: {tail(stderr) or 'ssh gives no reason'}. Check address, "
            f"port and network with '{by_hand}'."
        )
    if code == NOT_FOUND or "not found" in stderr or "No such file or directory" in stderr:
        return (
            f"{address} has no {python}. Install Python 3.8 or newer there (Debian: apt install "
            "python3), or name it with --device-python."
        )
    return (
        f"{python} does not start on {address} (exit code {code}): {tail(stderr) or 'no message'}. "
        "It must be Python 3.8 or newer; name another with --device-python."
    )


def explain_loss(address: str, what: str, stderr: str) -> str:
    """The connection ended in the middle of something."""
    reason = f" ({tail(stderr)})" if stderr.strip() else ""
    return (
        f"The connection to {address} was lost while it was to {what}{reason}. What ran there ends "
        "by itself and its folder is removed. Check the network and run again."
    )


def explain_system_error(address: str, what: str, number: int | None, reason: str) -> str:
    """The device's system refused something."""
    if number in DISK_ERRORS:
        return (
            f"The disk of {address} is full: it could not {what}. Free some space there, or set "
            "TMPDIR there to a folder on a larger disk."
        )
    return f"{address} could not {what}: {tail(reason)}. Check the device's disk and rights."
