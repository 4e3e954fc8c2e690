"""The machine as it is: processor, memory and, where there is one, the graphics card."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import psutil

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class VideoMemory:
    """Used and total video memory of all cards, in MB."""

    used_mb: float
    total_mb: float


class Machine:
    """Reads this machine; every method blocks for a moment, so call them in a thread."""

    def __init__(self) -> None:
        self.ram_mb = psutil.virtual_memory().total / _MB
        self._driver = _driver()

    def cpu_percent(self) -> float:
        """Return the share of all processors used since the last call; 0 the first time."""
        return psutil.cpu_percent(interval=None)

    def ram_used_mb(self) -> float:
        """Return the memory that programs could not get."""
        memory = psutil.virtual_memory()
        return (memory.total - memory.available) / _MB

    def video_memory(self) -> VideoMemory | None:
        """Return what the driver says, None without a card or driver."""
        if self._driver is None:
            return None
        cards = [self._driver.nvmlDeviceGetHandleByIndex(index) for index in range(self._driver.nvmlDeviceGetCount())]
        memories = [self._driver.nvmlDeviceGetMemoryInfo(card) for card in cards]
        return VideoMemory(sum(each.used for each in memories) / _MB, sum(each.total for each in memories) / _MB)


def _driver() -> Any:
    """Return the initialised module of the graphics driver, None where it is not installed or finds no card."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    driver = importlib.import_module("pynvml")  # optional: only machines with such a card have it
    try:
        driver.nvmlInit()
    except driver.NVMLError:
        return None
    return driver
