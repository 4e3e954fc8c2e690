"""How a child process of the launcher is born, listened to and ended.

A child leads a session of its own, so that Ctrl-C in the terminal reaches the launcher alone and so that the child and
whatever it started can be ended together. It is tied to its parent (`tie_to_parent`, called by the child first thing)
and tells how it is in lines of JSON on a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mesh.parent import PARENT, StatusPipe, tie_to_parent

__all__ = ["Child", "StatusPipe", "tie_to_parent"]

MAX_OUTPUT = 1_000_000
MAX_LINE = 1_000_000
LAST_WORDS = 2_000

Forget = Callable[[int], None]


class Child:
    """One program the launcher keeps alive: at most one process of it at a time.

    `arguments` is its command line, to which `--status-fd N` is added; what it prints goes to the file `output`, which
    is renamed to `.1` at a start that finds it over 1 MB.
    """

    def __init__(self, name: str, arguments: Sequence[str], output: Path) -> None:
        self.name = name
        self.output = output
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._status: int | None = None
        self._unread = b""
        self._output_start = 0

    @property
    def pid(self) -> int | None:
        """The running process, None when there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> int:
        """Start it and return the descriptor its status comes from; raises `OSError`."""
        reading, writing = os.pipe()
        try:
            with self._opened_output() as output:
                self._process = subprocess.Popen(
                    [*self._arguments, "--status-fd", str(writing)], stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, pass_fds=(writing,), start_new_session=True,
                    env={**os.environ, PARENT: str(os.getpid())},
                )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        self._status, self._unread = reading, b""
        return reading

    def messages(self, forget: Forget) -> list[dict[str, Any]]:
        """Return what it told since the last time, without waiting; what is no status line is left out.

        `forget` is called with the descriptor of `start` right before that is closed.
        """
        self._read_status(forget)
        *lines, self._unread = self._unread.split(b"\n")
        self._unread = self._unread[-MAX_LINE:]
        return [message for message in map(_message, lines) if message is not None]

    def ended(self, forget: Forget) -> int | None:
        """Return the exit code (negative: the signal) of a process that ended since the last time, None otherwise.

        What it started and left behind is ended with it; its last `messages` can still be read. `forget` as there.
        """
        if self._process is None:
            return None
        code = self._process.poll()
        if code is None:
            return None
        with suppress(ProcessLookupError, PermissionError):  # nobody of its group is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None
        self._read_status(forget)
        self._close_status(forget)
        return code

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process alone; what it started is its own to stop."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all of its group at once."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Return the end of what it printed since its last start."""
        try:
            with self.output.open("rb") as file:
                file.seek(max(self._output_start, file.seek(0, os.SEEK_END) - LAST_WORDS))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _opened_output(self) -> IO[bytes]:
        self.output.parent.mkdir(parents=True, exist_ok=True)
        if self.output.exists() and self.output.stat().st_size > MAX_OUTPUT:
            self.output.replace(self.output.with_name(self.output.name + ".1"))
        file = self.output.open("ab")
        self._output_start = file.tell()
        return file

    def _read_status(self, forget: Forget) -> None:
        while self._status is not None:
            try:
                data = os.read(self._status, 65536)
            except BlockingIOError:
                return
            self._unread += data
            if not data:
                self._close_status(forget)

    def _close_status(self, forget: Forget) -> None:
        if self._status is not None:
            forget(self._status)
            os.close(self._status)
            self._status = None


def _message(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("event"), str) else None
