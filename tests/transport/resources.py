"""What a process holds: a test that opens sockets and threads shows that none is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.eventually import wait_until


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail unless the process has no more descriptors and threads afterwards than it had before."""
    process = psutil.Process()
    descriptors, threads = process.num_fds(), process.num_threads()
    yield
    wait_until(lambda: process.num_fds() <= descriptors and process.num_threads() <= threads)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mesh-")]
