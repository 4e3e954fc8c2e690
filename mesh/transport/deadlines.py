"""Every deadline of a process on one timer: moments are swept from buckets of 16 ms.

A `call_later` per call costs more than the call's own encoding; a bucket is a set, so to add and to discard are one
look-up each.
"""

from __future__ import annotations

from typing import Protocol

from mesh.clock import Clock, Timer

BUCKET = 0.016


class Expiring(Protocol):
    """Something that ends at its deadline unless it is discarded before."""

    def expire(self) -> None:
        """Be told that the deadline has passed."""


class Deadlines:
    """Things that expire, each told once, at most 16 ms after its moment."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._buckets: dict[int, set[Expiring]] = {}
        self._timer: Timer | None = None
        self._next = 0

    def add(self, moment: float, item: Expiring) -> int:
        """Have `item` expire at `moment` (monotonic seconds); returns the bucket to discard it from."""
        bucket = int(moment / BUCKET) + 1
        items = self._buckets.get(bucket)
        if items is None:
            items = self._buckets[bucket] = set()
            if self._timer is None or bucket < self._next:
                self._schedule(bucket)
        items.add(item)
        return bucket

    def discard(self, bucket: int, item: Expiring) -> None:
        """Forget `item`, if it has not expired."""
        items = self._buckets.get(bucket)
        if items is not None:
            items.discard(item)

    def close(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, bucket: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = bucket
        self._timer = self.clock.call_later(max(0.0, bucket * BUCKET - self.clock.monotonic()), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self.clock.monotonic()  # compared as it was scheduled: a quotient may round to the bucket before
        for bucket in sorted(bucket for bucket in self._buckets if bucket * BUCKET <= now):
            for item in self._buckets.pop(bucket):
                item.expire()
        for bucket in [bucket for bucket, items in self._buckets.items() if not items]:
            del self._buckets[bucket]
        if self._buckets and self._timer is None:
            self._schedule(min(self._buckets))
