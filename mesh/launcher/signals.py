"""Signals as something a loop can wait for: noted when they come, handled when the loop has its turn."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any


class Signals:
    """Notes the signals `numbers` while it is entered, in the main thread; `descriptor` is readable when one came."""

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._came: list[int] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        self.descriptor, self._writing = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writing, False)
        self._before = {number: signal.signal(number, self._note) for number in self._numbers}
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.descriptor)
        os.close(self._writing)

    def take(self) -> list[int]:
        """Return those that came since the last time, in order."""
        with suppress(BlockingIOError):
            os.read(self.descriptor, 4096)
        came = []
        while self._came:
            came.append(self._came.pop(0))
        return came

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
