"""Give each caller of an operation its share: so many calls at once, then so many per second; the rest are told when.

A token bucket, kept as one moment per caller: when its bucket will be full again (the virtual scheduling form of the
Generic Cell Rate Algorithm, ITU-T I.371 annex A). A caller whose bucket is full needs no entry, so to forget whoever
was idle loses nothing. Who calls is what the connection proves (`mesh/policy/origin.py`), never a mere claim.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.errors import RateLimited
from mesh.message import Request
from mesh.metrics import Sample, counter, gauge
from mesh.policy.measure import OTHER
from mesh.policy.origin import identity
from mesh.policy.rules import OPERATIONS

MOST_CALLERS = 4096
FIRST_LOOK = 64
ROUNDING = 1e-9
"""Seconds that a caller may come too early, or one who waits exactly as long as told would be refused by a last bit."""
OTHERS = "\0others"

LIMITED = counter("mesh_rate_limited_total", "Calls refused because their caller had used up its share.",
                  "service", "operation")
CALLERS = gauge("mesh_rate_callers", "Callers whose bucket is not full just now.", "service", "operation")


class Buckets:
    """The buckets of one operation: `calls` at once, `calls` in each `per_s` seconds from then on.

    At most 4,096 callers have one; when that many are active, those who come on top share one more between them.
    """

    def __init__(self, calls: float, per_s: float, *, most: int = MOST_CALLERS) -> None:
        self.rule = calls, per_s
        self.refused = 0
        self._interval = per_s / calls
        self._depth = per_s
        self._most = most
        self._full_at: dict[str, float] = {}
        self._look_at = min(FIRST_LOOK, most)
        self._none_idle_before = 0.0

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, caller: str, now: float) -> float:
        """Take a token; returns 0 if there was one, else after how many seconds there will be."""
        full_at = self._full_at.get(caller)
        if full_at is None:
            if len(self._full_at) >= self._look_at:
                caller = self._room_for(caller, now)
            full_at = self._full_at.get(caller, now)
        after = max(full_at, now) + self._interval
        wait = after - now - self._depth
        if wait > ROUNDING:
            self.refused += 1
            return wait
        self._full_at[caller] = after
        return 0.0

    def refusal(self, request: Request, now: float) -> RateLimited | None:
        """Take a token for a call; returns its error if it came too early."""
        wait = self.take(identity(request), now)
        if not wait:
            return None
        calls, per_s = self.rule
        return RateLimited(f"{identity(request)} may call {request.target} {calls:g} times in {per_s:g} s; "
                           f"the next time in {wait:.3g} s", retry_after=wait)

    def _room_for(self, caller: str, now: float) -> str:
        """Forget callers whose bucket is full again; returns the name under which a new one is kept."""
        if now >= self._none_idle_before:
            self._full_at = {name: moment for name, moment in self._full_at.items() if moment > now}
            self._none_idle_before = min(self._full_at.values(), default=0.0)
            self._look_at = min(max(FIRST_LOOK, 2 * len(self._full_at)), self._most)
        return caller if len(self._full_at) < self._most else OTHERS

    def samples(self, service: str, operation: str) -> Iterator[Sample]:
        """Yield how many calls were refused, and how many callers have used some of their share."""
        yield LIMITED.sample(self.refused, service, operation)
        yield CALLERS.sample(len(self._full_at), service, operation)

    def row(self) -> dict[str, int]:
        """Return what they do now, for `mesh describe`."""
        return {"callers": len(self._full_at), "refused": self.refused}


class Rates:
    """The buckets of a service's operations; they outlive everything but a change of their rule."""

    def __init__(self) -> None:
        self._of: dict[str, Buckets] = {}

    def of(self, operation: str, calls: float, per_s: float) -> Buckets:
        """Return the buckets of an operation; names on top of 512 share theirs, for callers can make them up."""
        name = operation if operation in self._of or len(self._of) < OPERATIONS else OTHER
        buckets = self._of.get(name)
        if buckets is None or buckets.rule != (calls, per_s):
            buckets = self._of[name] = Buckets(calls, per_s)
        return buckets

    def samples(self, service: str) -> Iterator[Sample]:
        """Yield the figures of every operation that has a limit."""
        for operation, buckets in self._of.items():
            yield from buckets.samples(service, operation)

    def rows(self) -> dict[str, dict[str, int]]:
        """Return what each does now, for `mesh describe`."""
        return {operation: buckets.row() for operation, buckets in self._of.items()}
