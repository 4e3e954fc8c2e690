"""A process tied to its parent does not outlive it, whatever it is doing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from mesh.parent import KERNEL_LIMIT, MAX_WAITING, ORPHAN_LIMIT, ORPHANED, PARENT, StatusPipe, tie_to_parent
from tests.eventually import wait_until

PARENT_PROGRAM = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True,
                         env={**os.environ, "MESH_PARENT": str(os.getpid())}, stdout=subprocess.PIPE)
assert child.stdout.readline() == b"tied\\n"
print(child.pid, flush=True)
sys.stdin.read()
"""


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def seconds_outlived(child: str, limit: float) -> float:
    """Kill the parent of a child program that prints `tied`, and return for how long the child lived on."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT_PROGRAM, child], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdin is not None
    with parent.stdout, parent.stdin:
        pid = int(parent.stdout.readline())
        parent.kill()
        killed = time.monotonic()
        parent.wait()
        wait_until(lambda: gone(pid), limit)
        return time.monotonic() - killed


def test_it_is_asked_to_stop_at_once_when_its_parent_dies(tmp_path: Path) -> None:
    mark = tmp_path / "asked"
    child = f"""
import signal, sys, time
from mesh.parent import tie_to_parent
tie_to_parent()
signal.signal(signal.SIGTERM, lambda *_: (open({str(mark)!r}, "w").close(), sys.exit()))
print("tied", flush=True)
while True: time.sleep(1000)
"""
    assert seconds_outlived(child, limit=5.0) < ORPHAN_LIMIT
    assert mark.exists()


def test_it_ends_after_the_limit_when_it_does_not_stop_and_takes_its_group_along(tmp_path: Path) -> None:
    child = f"""
import signal, subprocess, time
from mesh.parent import tie_to_parent
tie_to_parent(limit=0.3)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(tmp_path / "pid")!r}, "w").write(str(subprocess.Popen(["sleep", "1000"]).pid))
print("tied", flush=True)
while True: time.sleep(1000)
"""
    assert seconds_outlived(child, limit=5.0) >= 0.3
    wait_until(lambda: gone(int((tmp_path / "pid").read_text())), limit=2.0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_the_kernel_ends_it_when_no_thread_gets_its_turn() -> None:
    child = """
import ctypes, signal, threading
from mesh.parent import tie_to_parent
tie_to_parent(limit=0.1)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3): threading.Event().wait(0.1)  # the thread that watches has begun
print("tied", flush=True)
pause = ctypes.PyDLL(None).pause  # unlike CDLL it keeps the interpreter locked
while True: pause()
"""
    assert seconds_outlived(child, limit=KERNEL_LIMIT + 5.0) > KERNEL_LIMIT - 1.0


def test_a_parent_that_died_before_the_tie_is_noticed() -> None:
    with subprocess.Popen([sys.executable, "-c", "from mesh.parent import tie_to_parent; tie_to_parent()"],
                          env={**os.environ, PARENT: "1999999999"}) as process:
        assert process.wait(10.0) == ORPHANED


def test_a_process_started_by_hand_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT, raising=False)
    tie_to_parent()


def test_what_a_tied_process_starts_is_not_taken_for_the_parents_child() -> None:
    program = "import os; from mesh.parent import tie_to_parent; tie_to_parent(); print(os.environ.get('MESH_PARENT'))"
    shown = subprocess.run([sys.executable, "-c", program], env={**os.environ, PARENT: str(os.getpid())},
                           capture_output=True, text=True, check=True)
    assert shown.stdout == "None\n"


# --- the status pipe


def lines(reading: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in os.read(reading, 1_000_000).splitlines()]


def test_each_event_is_a_line_of_json() -> None:
    reading, writing = os.pipe()
    status = StatusPipe(writing)
    status.send("ready", host="pc2", total=3)
    status.send("failed", path=Path("/x"))
    assert lines(reading) == [{"event": "ready", "host": "pc2", "total": 3}, {"event": "failed", "path": "/x"}]
    assert not os.get_inheritable(writing)
    os.close(reading)
    os.close(writing)


def test_without_a_descriptor_nobody_is_told() -> None:
    StatusPipe(None).send("ready")


def test_a_reader_that_is_gone_is_no_trouble() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    status = StatusPipe(writing)
    status.send("ready")
    status.send("stopping")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)


def test_a_reader_that_does_not_read_holds_nobody_up_and_gets_whole_lines_later() -> None:
    reading, writing = os.pipe()
    status = StatusPipe(writing)
    for number in range(2 * MAX_WAITING // 1000):
        status.send("agent", number=number, text="x" * 1000)
    os.set_blocking(reading, False)
    received = b""
    for _ in range(20):
        with suppress(BlockingIOError):
            received += os.read(reading, 1_000_000)
        status.send("ready")
    numbers = [event.get("number") for event in map(json.loads, received.splitlines()[:-1])]
    known = [number for number in numbers if number is not None]
    assert known == list(range(len(known))) and len(known) > MAX_WAITING // 2000
    os.close(reading)
    os.close(writing)
