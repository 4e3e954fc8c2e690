"""The breakers of a host: one for each operation of each instance that it calls, told of when they change.

They are kept by incarnation. One operation that always fails, or is slow, does not close the others off. What an
instance does not offer has no name here (`""`): callers must not make up breakers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.clock import Clock
from mesh.config import BreakerRule
from mesh.errors import CircuitOpen, MeshError
from mesh.message import Reply, Request
from mesh.metrics import Sample, counter, gauge
from mesh.policy.breaker import STATES, Breaker, State, counts
from mesh.policy.resolve import Avoid, Send
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
class _Held:
    """One breaker with the instance it stands in front of, and what its last counted failure was."""

    row: InstanceRecord
    operation: str
    breaker: Breaker
    error: MeshError | None = None
    why: str = ""


@dataclass(slots=True)
class _Figures:
    """What the breakers of a service did; outlives them."""

    opened: int = 0
    refused: int = 0


@dataclass(slots=True)
class Breakers:
    """Every breaker of a host. `instances` returns the rows there are of a service, `told` takes each change."""

    clock: Clock
    instances: Callable[[str], Sequence[InstanceRecord]]
    told: Callable[[Change], object] = lambda change: None
    _held: dict[Key, _Held] = field(default_factory=dict)
    _tripped: dict[Key, _Held] = field(default_factory=dict)
    _figures: dict[str, _Figures] = field(default_factory=dict)

    # -- around a call

    def in_front_of(self, send: Send, rule: BreakerRule, operation: str) -> Send:
        """Return `send` for instances whose breaker lets a call through; the others are `circuit_open` at once."""
        # every call passes here: the machine's clock is read without a detour over a method of ours
        monotonic = time.monotonic if type(self.clock) is Clock else self.clock.monotonic
        known: dict[int, _Held] = {}
        held: _Held | None = None

        def found(row: InstanceRecord) -> _Held:
            one = known.get(id(row))
            if one is None or one.row is not row:
                if len(known) >= ROWS:
                    known.clear()
                one = known[id(row)] = self._of(row, rule, operation)
            return one

        async def handle(request: Request, row: InstanceRecord) -> Reply:
            nonlocal held
            mine = held
            if mine is None or mine.row is not row:
                mine = held = found(row)
            breaker, now = mine.breaker, monotonic()
            if now >= breaker.next_look:
                if breaker.state != "closed":
                    return await self._try(mine, send, request, row, now)
                breaker.look(now)
            turn = breaker.turn
            reply = await send(request, row)
            if reply.error is not None:
                self._failed(mine, turn, reply.error, request.deadline - now)
            elif turn == breaker.turn:  # `succeeded` of a closed one, which every call passes
                breaker.ok += 1
                breaker.failures = 0
            return reply

        return handle

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

    async def _try(self, held: _Held, send: Send, request: Request, row: InstanceRecord, now: float) -> Reply:
        """Send a call as a trial, or refuse it."""
        breaker = held.breaker
        wait = breaker.retry_after(now)
        if wait > 0.0:
            return Reply(error=self._refusal(held, request, wait))
        if breaker.admit(now):
            self._changed(held, f"after {breaker.rule.open_s:g} s a call may try")
        turn = breaker.turn
        try:
            reply = await send(request, row)
        except BaseException:
            breaker.passed(turn)
            raise
        if reply.error is not None:
            self._failed(held, turn, reply.error, request.deadline - now)
        elif breaker.succeeded(turn, self.clock.monotonic()):
            self._changed(held, f"calls succeed again ({breaker.rule.successes} in trial)")
        return reply

    def _failed(self, held: _Held, turn: int, error: MeshError, granted: float) -> None:
        breaker = held.breaker
        if not counts(error, granted):
            breaker.passed(turn)
            return
        trial = breaker.state == "half_open"
        if turn == breaker.turn:
            held.error = error
        if breaker.failed(turn, self.clock.monotonic()):
            self._of_service(held).opened += 1
            self._changed(held, "its trial failed" if trial else breaker.reason)

    def _refusal(self, held: _Held, request: Request, wait: float) -> CircuitOpen:
        self._of_service(held).refused += 1
        row, error = held.row, held.error
        last = f"; the last: {error.message:.200}" if error is not None else ""
        when = (f"its breaker opened ({held.why}{last}) and lets a call try in {wait:.1f} s"
                if held.breaker.state == "open" else "its breaker is half-open and others try already")
        return CircuitOpen(f"{request.target} on {row.place} is not called now: {when}; `mesh why {row.service}` tells "
                           "more", retry_after=wait)

    # -- which there are

    def _of(self, row: InstanceRecord, rule: BreakerRule, operation: str) -> _Held:
        """Return the breaker of an instance, a new one for a new incarnation."""
        key, now = _key(row, operation), self.clock.monotonic()
        held = self._held.get(key)
        if held is not None and held.row.incarnation != row.incarnation:
            self._drop(key, "the instance has started anew")
            held = None
        if held is None:
            held = self._held[key] = _Held(row, key[3], Breaker(rule, now))
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

    def _changed(self, held: _Held, reason: str) -> None:
        row, state = held.row, held.breaker.state
        key = _key(row, held.operation)
        if state == "closed":
            self._tripped.pop(key, None)
        elif self._held.get(key) is held:
            self._tripped[key] = held
        held.why = reason
        self.told(Change(row, held.operation, state, reason, None if held.error is None else held.error.message))

    def _of_service(self, held: _Held) -> _Figures:
        return self._figures.setdefault(held.row.service, _Figures())

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


def _key(row: InstanceRecord, operation: str) -> Key:
    return row.service, row.host, row.number, operation if operation in row.operations else ""


def _row(held: _Held, now: float) -> dict[str, Any]:
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
