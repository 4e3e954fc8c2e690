"""Events on this host: from a publisher to the cells that listen, to the other hosts, to readers outside the mesh.

A body is encoded once; each cell decodes its own copy. An event from another host goes to this host's cells and
operators only, so none goes in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mesh import wire
from mesh.clock import Clock
from mesh.message import Event, encode
from mesh.supervisor.reactions import Hearing
from mesh.topics import matches
from mesh.tracing import Trace

REMEMBERED = 10_000

Send = Callable[[str, bytes], None]


class EventBus:
    """Who listens to what on this host."""

    def __init__(
        self, host: str, clock: Clock, *, to_sessions: Send, to_operators: Send, outside: Callable[[Event], None]
    ) -> None:
        self._host = host
        self._clock = clock
        self._to_sessions = to_sessions
        self._to_operators = to_operators
        self._outside = outside
        self._hearings: dict[str, tuple[Hearing, ...]] = {}
        self._listeners: dict[str, tuple[Hearing, ...]] = {}

    def listen(self, service: str, hearings: Iterable[Hearing]) -> bool:
        """Set what a service's cell listens to; returns whether that changed."""
        wanted = tuple(hearings)
        before = self._hearings.get(service, ())
        if wanted == before:
            return False
        self._hearings[service] = wanted
        self._listeners.clear()
        return True

    def patterns(self) -> set[str]:
        """Return every pattern a cell of this host listens to."""
        return {hearing.subscription.pattern for hearings in self._hearings.values() for hearing in hearings}

    def publish(self, topic: str, payload: Any, origin: str, trace: Trace | None = None) -> None:
        """Send an event of this host to whoever listens, anywhere; raises `InvalidArgument` for what may not travel."""
        event = Event(topic, encode(payload, name="payload"), origin, self._clock.time(), trace)
        self._deliver(event)
        self._to_sessions(topic, wire.event(event))
        self._outside(event)

    def arrived(self, event: Event, host: str) -> bool:
        """Take an event from another host; returns False for one that claims to come from elsewhere."""
        if event.origin.rpartition("@")[2] != host:
            return False
        self._deliver(event)
        self._to_operators(event.topic, wire.event(event))
        return True

    def _deliver(self, event: Event) -> None:
        for hearing in self._listeners_of(event.topic):
            hearing.hear(event)

    def _listeners_of(self, topic: str) -> tuple[Hearing, ...]:
        known = self._listeners.get(topic)
        if known is None:
            if len(self._listeners) >= REMEMBERED:
                self._listeners.clear()
            known = self._listeners[topic] = tuple(
                hearing for hearings in self._hearings.values() for hearing in hearings
                if matches(hearing.subscription.pattern, topic)
            )
        return known
