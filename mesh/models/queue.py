"""Which items go into the next batch, and when it leaves: decided from what waits and `now`.

- A batch leaves as soon as it is full, else when its oldest item has waited `max_wait` seconds; nothing is held back
  longer for company.
- Callers take turns: one that brings a thousand items fills what the others leave, and nobody waits behind all of them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Waiting(Generic[T]):
    """One item, who brought it, and when."""

    item: T
    caller: str
    since: float


class BatchQueue(Generic[T]):
    """The items that wait; `max_batch` at most leave together."""

    def __init__(self, max_batch: int, max_wait: float) -> None:
        self.max_batch = max_batch
        self.max_wait = max_wait
        self._by_caller: OrderedDict[str, deque[Waiting[T]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: T, caller: str, now: float) -> Waiting[T]:
        """Let an item wait."""
        waiting = Waiting(item, caller, now)
        self._by_caller.setdefault(caller, deque()).append(waiting)
        self._count += 1
        return waiting

    def remove(self, waiting: Waiting[T]) -> bool:
        """Take an item out whose caller has given up; tell whether it still waited."""
        own = self._by_caller.get(waiting.caller)
        if own is None or waiting not in own:
            return False
        own.remove(waiting)
        self._count -= 1
        if not own:
            del self._by_caller[waiting.caller]
        return True

    def due(self, now: float) -> float | None:
        """Return the seconds until a batch should leave, 0 for at once, None while nothing waits."""
        if not self._count:
            return None
        if self._count >= self.max_batch:
            return 0.0
        oldest = min(own[0].since for own in self._by_caller.values())
        return max(0.0, oldest + self.max_wait - now)

    def take(self) -> list[Waiting[T]]:
        """Take the next batch: one item of each caller in turn, each caller's oldest first."""
        batch: list[Waiting[T]] = []
        while self._count and len(batch) < self.max_batch:
            caller, own = self._by_caller.popitem(last=False)
            batch.append(own.popleft())
            self._count -= 1
            if own:
                self._by_caller[caller] = own  # at the end: the others are first
        return batch
