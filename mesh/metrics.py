"""Counts and latencies, kept as plain numbers on the path and read when somebody asks."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """What passed the sockets of one process."""

    frames_in: int = 0
    frames_out: int = 0
    envelopes_in: int = 0
    envelopes_out: int = 0
    undecodable: int = 0
    events_lost: int = 0


class Latency:
    """A histogram of durations whose buckets grow by a tenth, so a quantile is right within five per cent."""

    _FIRST = 1e-6
    _LOG_GROWTH = math.log(1.1)

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, int] = {}

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        bucket = int(math.log(seconds / self._FIRST) / self._LOG_GROWTH) if seconds > self._FIRST else 0
        self.count += 1
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def quantile(self, share: float) -> float | None:
        """Return the duration in seconds below which `share` of the observations lie, None before the first."""
        wanted = share * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return float(self._FIRST * 1.1 ** (bucket + 0.5))
        return None
