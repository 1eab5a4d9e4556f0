"""A device that goes away and comes back, without a device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from edgeseg.errors import DeviceError, DeviceLostError, UsageError
from edgeseg.pipeline.builder.device_settings import DeviceSettings
from edgeseg.pipeline.devices.candidates import Brought, CandidateDevice
from edgeseg.pipeline.measuring.device_link import DeviceLink, device_address

ADDRESS = "ssh://pi@board"


class FakeDevice(CandidateDevice):
    """It has done a second of work."""

    busy_s = 1.0  # type: ignore[assignment]

    def __init__(self, cpu: str) -> None:
        self.cpu = cpu

    def fingerprint(self) -> dict[str, Any]:
        return {"cpu": self.cpu, "cores": 4}

    def open_worker(self, *arguments: object) -> Any:
        raise NotImplementedError

    def forget(self) -> None:
        pass


class Board:
    """Gives what it is told to, one attempt after the other."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)

    @contextlib.contextmanager
    def open(self) -> Iterator[CandidateDevice]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        yield FakeDevice(answer)


def link_to(*answers: str | Exception, patience_s: float = 30.0) -> DeviceLink:
    return DeviceLink(ADDRESS, Board(*answers).open, Brought(), patience_s, pause_s=0.001)


LOST = DeviceLostError("The connection was lost.")
REFUSED = DeviceError("Connection refused.")


def test_it_waits_until_the_device_is_back() -> None:
    with link_to("A76", REFUSED, REFUSED, "A76") as link:
        first = link.device
        link.await_return(LOST)
        assert link.device is not first
        assert link.interruptions == 1
        # That of the connection before counts, too.
        assert link.busy_s == 2.0


def test_a_device_that_stays_away_is_told_with_what_is_kept() -> None:
    with link_to("A76", REFUSED, patience_s=0.05) as link:
        with pytest.raises(DeviceError) as caught:
            link.await_return(LOST)
        text = str(caught.value)
        assert "did not come back within 0.05 s: Connection refused." in text
        assert "give the same command" in text
        assert "--timeout" in text


def test_another_device_at_the_address_is_refused() -> None:
    said = r"answers at ssh://pi@board: cpu differ\. Give"
    with link_to("A76", "A55") as link, pytest.raises(UsageError, match=said):
        link.await_return(LOST)


def test_a_device_that_is_not_there_at_first_is_not_waited_for() -> None:
    with pytest.raises(DeviceError, match=r"^Connection refused"), link_to(REFUSED):
        pass


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (DeviceSettings("board"), "Write it as ssh://USER@HOST"),
        (DeviceSettings("adb://phone", python="python3.9"), "is for ssh://"),
        (DeviceSettings("ssh://pi@board", program="benchmark_model"), "is for adb://"),
    ],
)
def test_settings_of_another_kind_of_device_are_refused(
    settings: DeviceSettings, advice: str
) -> None:
    with pytest.raises(UsageError, match=advice):
        device_address(settings)
