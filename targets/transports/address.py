"""What --device names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeseg.errors import UsageError

# Nothing that a shell or the options of ssh and adb could take for something else.
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = r"[A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]"
_SSH = re.compile(rf"(?:(?P<user>{_USER})@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?/?")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
FORMS = "ssh://USER@HOST, ssh://USER@HOST:PORT or adb://SERIAL"


@dataclass(frozen=True)
class SshAddress:
    """Attributes:
    host: Name, number, or an alias of the user's ssh configuration; IPv6 without brackets.
    user, port: None leaves them to the configuration.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def destination(self) -> str:
        """As ssh takes it on its command line."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{host}{port}"


@dataclass(frozen=True)
class AdbAddress:
    """Attributes:
    serial: As `adb devices` lists it.
    """

    serial: str

    def __str__(self) -> str:
        return f"adb://{self.serial}"


def parse_device(text: str) -> SshAddress | AdbAddress:
    """Read the address of a device.

    Raises:
        UsageError: It has another form.
    """
    scheme, _, rest = text.partition("://")
    ssh = _SSH.fullmatch(rest)
    if scheme == "ssh" and ssh is not None:
        port = int(ssh["port"]) if ssh["port"] else None
        if port is None or 0 < port < 65536:
            return SshAddress(ssh["host"].strip("[]"), ssh["user"], port)
    if scheme == "adb" and _SERIAL.fullmatch(rest):
        return AdbAddress(rest)
    raise UsageError(f"--device {text} is no device. Write it as {FORMS}.")
