from __future__ import annotations

import os
import subprocess
import sys

from edgeseg.storage.processes import is_alive, own_marks, start_mark


def test_this_process_is_alive_and_another_of_its_number_is_not() -> None:
    _, pid, start = own_marks()
    assert pid == os.getpid()
    assert is_alive(pid, start)
    assert is_alive(pid, "")  # where the system tells no start
    assert not is_alive(pid, str(int(start) + 1))


def test_a_process_that_ended_is_dead_before_and_after_it_is_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = start_mark(child.pid)
    assert is_alive(child.pid, start)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert not is_alive(child.pid, start)
    child.communicate()
    assert not is_alive(child.pid, start)
