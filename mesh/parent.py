"""What a process owes the launcher that started it: it does not outlive it, and it tells how it is.

Only the standard library is used here, so a process can tie itself before it imports anything that takes time.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from typing import Any

PARENT = "MESH_PARENT"
ORPHAN_LIMIT = 8.0
KERNEL_LIMIT = float(signal.SIGUSR1)
ORPHANED = 70
POLL_S = 0.5
MAX_WAITING = 256 * 1024

_PR_SET_PDEATHSIG = 1
_LINUX = sys.platform == "linux"


def tie_to_parent(limit: float = ORPHAN_LIMIT) -> None:
    """End this process with the one that started it; call it first thing, in the main thread.

    When the parent is gone, SIGTERM comes at once, as if asked to stop. What has not ended `limit` seconds later is
    ended by a thread, with its process group; and if no thread gets its turn, because C code holds the interpreter,
    the kernel ends it ten seconds after the parent (on Linux). Does nothing in a process that was started by hand.
    """
    parent = os.environ.pop(PARENT, "")
    if not parent.isdigit():
        return
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before the line above
        os._exit(ORPHANED)
    threading.Thread(target=_outlive, args=(int(parent), limit), name="parent", daemon=True).start()


def _outlive(parent: int, limit: float) -> None:
    """Wait for the death of the parent, give this process `limit` seconds, and end it."""
    # Signals are for the main thread: one that this thread took would not end what the main thread waits for.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if _LINUX:
        _arm_kernel()
    while os.getppid() == parent:
        time.sleep(POLL_S)
    if not _LINUX:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(limit)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(ORPHANED)


def _arm_kernel() -> None:
    """Have the kernel end this process SIGUSR1 (10) seconds after its parent, whoever holds the interpreter then.

    Every thread may choose a signal for the death of the parent; this one chooses SIGUSR1, whose handler is the C
    function `alarm` itself. It is called with the signal's number, takes it for seconds, and when they are over the
    SIGALRM that nobody handles ends the process. No Python code runs in any of this.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGUSR1, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)


class StatusPipe:
    """Lines of JSON to the launcher, over the descriptor it gave (`--status-fd`); without one, to nobody.

    Never blocks and never raises: a launcher that does not read loses lines, one that is gone is forgotten.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, False)

    def send(self, event: str, **fields: Any) -> None:
        """Tell one event, such as `ready`, with its fields."""
        if self._descriptor is None:
            return
        if len(self._waiting) < MAX_WAITING:
            self._waiting += json.dumps({"event": event, **fields}, default=str).encode() + b"\n"
        try:
            while self._waiting:
                del self._waiting[: os.write(self._descriptor, self._waiting)]
        except BlockingIOError:
            return
        except OSError:
            os.close(self._descriptor)
            self._descriptor = None
