"""Events for groups: of all instances that hear a topic in a group exactly one gets each event.

The host where an event is published chooses the member, in turn, among those that its directory lists, best class
first; nobody else chooses, so hosts that see the mesh differently cannot disagree. The event goes there as a call, and
its fate is known from the answer:

* handled, or the handler raised: that was it.
* provably not begun (the member has just stopped, is full, cannot be reached): the next member is asked.
* not known (its host or process died meanwhile): it may have been handled, so nobody is asked again. It is counted as
  in doubt and told on the error bus.

So each event is handled once at most. It waits here for a member while all are full or about to be ready, for 30 s at
most, 10,000 events of a group at most; what is over that is lost, counted and told. Each event that ends lets two of
those that wait try, so that they take what room there is and nobody is asked in vain again and again (as TCP's slow
start does); while none ends, one of them looks each 50 ms.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass, field

from mesh.clock import Clock, Timer
from mesh.directory import Directory
from mesh.errors import MeshError
from mesh.message import Answer, Event, Request, replied
from mesh.metrics import Sample, counter, gauge
from mesh.policy.balance import Turns
from mesh.policy.retry import may_repeat
from mesh.records import GROUP, InstanceRecord
from mesh.supervisor.cell.groupcall import body_of
from mesh.tracing import Trace

PATIENCE = 30.0
LOOK = 0.05
LET_TRY = 2
MOST = 10_000
HANDLED_WITHIN = 3600.0
"""Seconds after which a handler that does not end is no longer waited for; it is not cancelled."""

OUTCOMES = ("handled", "failed", "in_doubt", "lost")

EVENTS = counter("mesh_group_events_total", "Events published here for one member of a group, by what became of them: "
                 "`handled`, `failed` (the handler raised), `in_doubt` (the member died over it), `lost` (no member).",
                 "group", "outcome")
AGAIN = counter("mesh_group_events_again_total", "Times another member was asked, since one had not begun.", "group")
WAITING = gauge("mesh_group_events_waiting", "Events published here that a member has not yet answered.", "group")

Carry = Callable[[Request, str], Answer]
Key = tuple[str, str, int]


@dataclass(slots=True)
class Fate:
    """What became of the events of one group; `open` are those not answered yet.

    `waiting` are those of them that no member has taken, with the moment until which each waits; `look` is when the
    first of them tries of its own accord.
    """

    turns: Turns = field(default_factory=Turns)
    waiting: deque[tuple[float, asyncio.Future[None]]] = field(default_factory=deque)
    look: Timer | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    again: int = 0
    open: int = 0


class Groups:
    """The events of one host on their way to members; `carry` takes a call to a host, `trouble` tells of a loss."""

    def __init__(
        self, directory: Directory, carry: Carry, clock: Clock, trouble: Callable[[str, str], None]
    ) -> None:
        self.fates: dict[str, Fate] = {}
        self._directory = directory
        self._carry = carry
        self._clock = clock
        self._trouble = trouble
        self._tasks: set[asyncio.Task[None]] = set()

    def samples(self) -> Iterator[Sample]:
        """Yield what became of the events of each group."""
        for group, fate in self.fates.items():
            for outcome, count in fate.counts.items():
                yield EVENTS.sample(count, group, outcome)
            yield AGAIN.sample(fate.again, group)
            yield WAITING.sample(fate.open, group)

    def deliver(self, event: Event) -> None:
        """Have one member of each group that hears the topic handle the event."""
        for group in self._directory.groups(event.topic):
            fate = self.fates.setdefault(group, Fate())
            if fate.open >= MOST:
                self._lost(group, fate, event, f"{MOST} events wait already")
                continue
            fate.open += 1
            # a context of its own: the publisher may be a call, whose deadline and path are no concern of the handler
            task = asyncio.get_running_loop().create_task(self._give(group, fate, event), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def open(self) -> int:
        """How many events have no answer yet."""
        return sum(fate.open for fate in self.fates.values())

    def close(self) -> None:
        """Wait for no answer any more, and tell of the events that have none."""
        if self.open:
            self._trouble("groups", f"this host stops while {self.open} events for groups have no answer yet; they may "
                                    "not have been handled")
        for task in self._tasks:
            task.cancel()
        for fate in self.fates.values():
            if fate.look is not None:
                fate.look.cancel()

    async def _give(self, group: str, fate: Fate, event: Event) -> None:
        try:
            until, body, found = self._clock.monotonic() + PATIENCE, body_of(event), "it has no member now"
            asked: set[Key] = set()
            waited = False
            while True:
                row = self._next(group, fate, event.topic, asked)
                if row is None:
                    if self._clock.monotonic() >= until or not self._directory.groups(event.topic).get(group):
                        return self._lost(group, fate, event, found)
                    asked.clear()
                    await self._wait(fate, until, first=waited)
                    waited = True
                    continue
                error = (await replied(self._carry(self._call(group, row, event, body), row.host))).error
                if error is None or not may_repeat(error, False):
                    return self._answered(group, fate, row, error)
                asked.add((row.service, row.host, row.number))
                fate.again += 1
                found = error.message
        finally:
            fate.open -= 1
            self._let_try(fate, LET_TRY)

    async def _wait(self, fate: Fate, until: float, *, first: bool) -> None:
        """Wait to be let try; who has waited before is `first` again."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (fate.waiting.appendleft if first else fate.waiting.append)((until, turn))
        if fate.look is None:
            fate.look = self._clock.call_later(LOOK, lambda: self._look(fate))
        await turn

    def _look(self, fate: Fate) -> None:
        """Let the first of those who wait try, and all whose time is over find that out."""
        now = self._clock.monotonic()
        self._let_try(fate, max(1, sum(until <= now for until, _ in fate.waiting)))
        fate.look = self._clock.call_later(LOOK, lambda: self._look(fate)) if fate.waiting else None

    def _let_try(self, fate: Fate, count: int) -> None:
        while count > 0 and fate.waiting:
            _, turn = fate.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    def _next(self, group: str, fate: Fate, topic: str, asked: set[Key]) -> InstanceRecord | None:
        """Return the member whose turn it is among those not asked yet, None if there is none."""
        for rows in self._directory.members(group, topic):
            left = [row for row in rows if (row.service, row.host, row.number) not in asked]
            if left:
                return fate.turns.next(left)
        return None

    def _call(self, group: str, row: InstanceRecord, event: Event, body: bytes) -> Request:
        trace = Trace.new(sampled=False) if event.trace is None else event.trace.child()
        return Request(row.service, f"{GROUP}{group}", body, self._clock.monotonic() + HANDLED_WITHIN, trace,
                       event.origin, (), f"{row.host}#{row.number}")

    def _answered(self, group: str, fate: Fate, row: InstanceRecord, error: MeshError | None) -> None:
        if error is None:
            fate.counts["handled"] += 1
        elif error.code == "remote_failure":
            fate.counts["failed"] += 1
        else:
            fate.counts["in_doubt"] += 1
            self._trouble(f"group:{group}", f"an event for group {group} may not have been handled by {row.service} on "
                                            f"{row.place}: {error.message}")

    def _lost(self, group: str, fate: Fate, event: Event, found: str) -> None:
        fate.counts["lost"] += 1
        self._trouble(f"lost:{group}", f"the event {event.topic} of {event.origin} reached no member of group {group}: "
                                       f"{found}")
