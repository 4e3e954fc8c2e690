"""The breakers of a host: one for each operation of each instance that it calls, told of when they change.

They are kept by incarnation. One operation that always fails, or is slow, does not close the others off. What an
instance does not offer has no name here (`""`): callers must not make up breakers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.clock import Clock
from mesh.config import BreakerRule
from mesh.errors import CircuitOpen, MeshError
from mesh.message import Reply, Request
from mesh.metrics import Sample, counter, gauge
from mesh.policy.breaker import STATES, Breaker, State, counts
from mesh.policy.resolve import Avoid
from mesh.records import InstanceRecord

STATE = gauge("mesh_breaker_state", "Breaker of this host in front of an instance: 0 closed, 1 open, 2 half-open.",
              "service", "instance", "operation")
OPENED = counter("mesh_breaker_opened_total", "Times the breakers of a service's instances opened.", "service")
REFUSED = counter("mesh_breaker_refused_total", "Calls answered `circuit_open` without being sent.", "service")

ROWS = 64
"""Rows of one operation that are found at once; an instance has a new one with each change of its state."""

Key = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker that changed: in front of which instance, to which state, and why; `last` is its last failure."""

    row: InstanceRecord
    operation: str
    state: State
    reason: str
    last: str | None = None

    @property
    def name(self) -> str:
        """What the breaker stands in front of, for people."""
        operation = f".{self.operation}" if self.operation else ""
        return f"{self.row.service}{operation} on {self.row.place}"


@dataclass(slots=True)
class Guarded:
    """An instance with the breaker in front of it, and what its last counted failure was."""

    row: InstanceRecord
    operation: str
    breaker: Breaker
    error: MeshError | None = None
    why: str = ""


@dataclass(slots=True)
class Figures:
    """What the breakers of a service did; outlives them."""

    opened: int = 0
    refused: int = 0


@dataclass(slots=True)
class Breakers:
    """Every breaker of a host. `instances` returns the rows there are of a service, `told` takes each change."""

    clock: Clock
    instances: Callable[[str], Sequence[InstanceRecord]]
    told: Callable[[Change], object] = lambda change: None
    _held: dict[Key, Guarded] = field(default_factory=dict)
    _tripped: dict[Key, Guarded] = field(default_factory=dict)
    _figures: dict[str, Figures] = field(default_factory=dict)

    # -- around a call

    def guard(self, rule: BreakerRule, operation: str) -> Guard:
        """Return the breakers of one operation under a rule."""
        return Guard(self, rule, operation)

    def avoid(self, operation: str) -> Avoid:
        """Return what tells of an instance that its breaker would let no call through to it now."""
        tripped = self._tripped

        def avoided(row: InstanceRecord) -> bool:
            if not tripped:
                return False
            held = tripped.get(_key(row, operation))
            return (held is not None and held.row.incarnation == row.incarnation
                    and held.breaker.retry_after(self.clock.monotonic()) > 0.0)

        return avoided

    # -- which there are

    def of(self, row: InstanceRecord, rule: BreakerRule, operation: str) -> Guarded:
        """Return the breaker of an instance, a new one for a new incarnation."""
        key, now = _key(row, operation), self.clock.monotonic()
        held = self._held.get(key)
        if held is not None and held.row.incarnation != row.incarnation:
            self._drop(key, "the instance has started anew")
            held = None
        if held is None:
            held = self._held[key] = Guarded(row, key[3], Breaker(rule, now))
        held.row = row
        if held.breaker.rule != rule:
            held.breaker.tune(rule, now)
        return held

    def sweep(self, service: str | None = None) -> None:
        """Forget the breakers of instances, of one service or of all, that are gone."""
        for key, held in list(self._held.items()):
            if service is None or key[0] == service:
                here = key[1], key[2], held.row.incarnation
                if here not in [(row.host, row.number, row.incarnation) for row in self.instances(key[0])]:
                    self._drop(key, "the instance is gone")

    def drop(self, service: str, operation: str) -> None:
        """Forget the breakers of an operation that needs none any more."""
        for key in [key for key in self._held if key[0] == service and key[3] == operation]:
            self._drop(key, "its rule is gone")

    def _drop(self, key: Key, reason: str) -> None:
        held = self._held.pop(key)
        if self._tripped.pop(key, None) is not None:
            self.told(Change(held.row, held.operation, "closed", reason))

    def changed(self, held: Guarded, reason: str) -> None:
        """Tell that a breaker is in another state now."""
        row, state = held.row, held.breaker.state
        key = _key(row, held.operation)
        if state == "closed":
            self._tripped.pop(key, None)
        elif self._held.get(key) is held:
            self._tripped[key] = held
        held.why = reason
        self.told(Change(row, held.operation, state, reason, None if held.error is None else held.error.message))

    def figures(self, held: Guarded) -> Figures:
        """Return what the breakers of the instance's service did so far."""
        return self._figures.setdefault(held.row.service, Figures())

    # -- what is seen of them

    def rows(self, service: str) -> list[dict[str, Any]]:
        """Return what is known of a service's breakers, one row each."""
        self.sweep(service)
        now = self.clock.monotonic()
        return [_row(held, now) for key, held in sorted(self._held.items()) if key[0] == service]

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every breaker."""
        self.sweep()
        for (service, _, _, operation), held in self._held.items():
            yield STATE.sample(STATES.index(held.breaker.state), service, held.row.place, operation)
        for service, figures in self._figures.items():
            yield OPENED.sample(figures.opened, service)
            yield REFUSED.sample(figures.refused, service)


class Guard:
    """The breakers in front of the instances of one operation, as its calls meet them.

    A call asks for the breaker of its instance; when its `next_look` has come, whether that refuses it; where it is not
    closed, to `begin`; and last it tells that it has `ended`, unless it was answered well by one that is closed.
    """

    def __init__(self, breakers: Breakers, rule: BreakerRule, operation: str) -> None:
        self._breakers = breakers
        self._clock = breakers.clock
        self._rule = rule
        self._operation = operation
        self._known: dict[int, Guarded] = {}
        self.last: Guarded | None = None

    def of(self, row: InstanceRecord) -> Guarded:
        """Return an instance with its breaker; the one asked for last is `last`."""
        held = self._known.get(id(row))
        if held is None or held.row is not row:
            if len(self._known) >= ROWS:
                self._known.clear()
            held = self._known[id(row)] = self._breakers.of(row, self._rule, self._operation)
        self.last = held
        return held

    def refusal(self, held: Guarded, request: Request, now: float) -> CircuitOpen | None:
        """Return why a call is not let through now, None if it is; to be asked once `next_look` has come."""
        breaker = held.breaker
        if breaker.state == "closed":
            breaker.look(now)
            return None
        wait = breaker.retry_after(now)
        if not wait > 0.0:
            return None
        self._breakers.figures(held).refused += 1
        row, error = held.row, held.error
        last = f"; the last: {error.message:.200}" if error is not None else ""
        when = (f"its breaker opened ({held.why}{last}) and lets a call try in {wait:.1f} s"
                if breaker.state == "open" else "its breaker is half-open and others try already")
        return CircuitOpen(f"{request.target} on {row.place} is not called now: {when}; `mesh why {row.service}` tells "
                           "more", retry_after=wait)

    def begin(self, held: Guarded, now: float) -> int:
        """Let a call through as a trial, where the breaker is not closed; returns the turn that it belongs to."""
        breaker = held.breaker
        if breaker.admit(now):
            self._breakers.changed(held, f"after {self._rule.open_s:g} s a call may try")
        return breaker.turn

    def ended(self, held: Guarded, turn: int, reply: Reply | None, granted: float) -> None:
        """Take note of what a call came to that had `granted` seconds; None says that it was given up."""
        breaker = held.breaker
        if reply is None:
            breaker.passed(turn)
        elif reply.error is not None:
            self._failed(held, turn, reply.error, granted)
        elif breaker.succeeded(turn, self._clock.monotonic()):
            self._breakers.changed(held, f"calls succeed again ({breaker.rule.successes} in trial)")

    def _failed(self, held: Guarded, turn: int, error: MeshError, granted: float) -> None:
        breaker = held.breaker
        if not counts(error, granted):
            breaker.passed(turn)
            return
        trial = breaker.state == "half_open"
        if turn == breaker.turn:
            held.error = error
        if breaker.failed(turn, self._clock.monotonic()):
            self._breakers.figures(held).opened += 1
            self._breakers.changed(held, "its trial failed" if trial else breaker.reason)


def _key(row: InstanceRecord, operation: str) -> Key:
    return row.service, row.host, row.number, operation if operation in row.operations else ""


def _row(held: Guarded, now: float) -> dict[str, Any]:
    breaker = held.breaker
    if breaker.state == "closed" and now >= breaker.next_look:
        breaker.look(now)
    calls, failed = breaker.window()
    return {
        "host": held.row.host, "number": held.row.number, "operation": held.operation or None, "state": breaker.state,
        "failures": breaker.failures, "calls": calls, "failed": failed,
        "retry_after_s": round(breaker.retry_after(now), 3) if breaker.state != "closed" else None,
        "reason": held.why or None, "last_error": None if held.error is None else held.error.message,
    }
