"""Programs that a test runs beside itself, to be frozen, kept from turning or killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of the tests beside this one."""
    child = subprocess.Popen([sys.executable, "-m", f"tests.transport.{name}", *arguments], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def passed(seconds: float) -> Callable[[], bool]:
    """Return a condition that is so after some time."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def line(child: subprocess.Popen[str]) -> str:
    """Return the next line a program says; waits for it, so not to be called on a loop."""
    assert child.stdout is not None
    return child.stdout.readline().strip()
