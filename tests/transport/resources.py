"""What a process holds: a test that opens sockets and threads shows that none is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from mesh.transport.profile import Context
from tests.eventually import wait_until


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail unless the process has no more descriptors and threads afterwards than it had before."""
    process = psutil.Process()
    descriptors, threads = process.num_fds(), process.num_threads()
    yield
    wait_until(lambda: process.num_fds() <= descriptors and process.num_threads() <= threads)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mesh-")]


def terminate(context: Context) -> None:
    """End a Context whose sockets are closed; fails where `term` would wait for ever for one that is not."""
    ending = threading.Thread(target=context.term, daemon=True)
    ending.start()
    ending.join(5)
    assert not ending.is_alive(), "a socket was left open"
