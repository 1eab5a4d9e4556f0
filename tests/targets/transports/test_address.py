from __future__ import annotations

import pytest

from edgeseg.errors import UsageError
from edgeseg.targets.transports.address import AdbAddress, SshAddress, parse_device


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@raspberry.local", SshAddress("raspberry.local", "pi")),
        ("ssh://pi@10.0.0.7:2222", SshAddress("10.0.0.7", "pi", 2222)),
        ("ssh://jetson", SshAddress("jetson")),
        ("ssh://root@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "root", 22)),
        ("adb://emulator-5554", AdbAddress("emulator-5554")),
        ("adb://192.168.1.9:5555", AdbAddress("192.168.1.9:5555")),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, address: SshAddress | AdbAddress) -> None:
    assert parse_device(text) == address
    assert str(address) == text


def test_the_port_is_no_part_of_the_destination() -> None:
    assert SshAddress("fe80::1", "root", 22).destination == "root@fe80::1"
    assert SshAddress("jetson").destination == "jetson"


@pytest.mark.parametrize(
    "text",
    [
        "raspberry",
        "http://raspberry",
        "ssh://",
        "ssh://pi@",
        "ssh://pi@host:port",
        "ssh://pi@host:0",
        "ssh://pi@host:65536",
        "ssh://pi@host/home/pi",
        "ssh://-oProxyCommand=touch@host",
        "ssh://-oProxyCommand=touch",
        "ssh://pi@$(touch)",
        "ssh://pi@host;touch",
        "adb://",
        "adb://-x",
        "adb://a b",
    ],
)
def test_anything_else_is_refused_with_the_right_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no device\. Write it as ssh://USER@HOST"):
        parse_device(text)
