"""Events on this host: from a publisher to the cells that listen, to the other hosts, to readers outside the mesh.

Subscriptions of a group are not among those: whose turn it is decides the host of the publisher (`groups.py`).

A body is encoded once; each cell decodes its own copy. An event from another host goes to this host's cells and
operators only, so none goes in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mesh.clock import Clock
from mesh.message import Event, encode
from mesh.metrics import Sample, counter
from mesh.topics import Choices
from mesh.tracing import Trace

PUBLISHED = counter("mesh_events_published_total", "Events published on this host.")
ARRIVED = counter("mesh_events_received_total", "Events that came from other hosts.")
DELIVERED = counter("mesh_events_delivered_total", "Events given to handlers of this host's agents, each one counted.")

Hear = Callable[[Event], None]


class EventBus:
    """Who listens to what on this host."""

    def __init__(
        self, host: str, clock: Clock, *, to_sessions: Hear, to_operators: Hear, outside: Hear, to_groups: Hear,
    ) -> None:
        self.published = 0
        self.received = 0
        self.delivered = 0
        self._host = host
        self._clock = clock
        self._to_sessions = to_sessions
        self._to_operators = to_operators
        self._outside = outside
        self._to_groups = to_groups
        self._patterns: dict[str, tuple[str, ...]] = {}
        self._ears: dict[str, Hear] = {}
        self._listeners: Choices[Hear] = Choices()

    def listen(self, service: str, patterns: tuple[str, ...], hear: Hear) -> bool:
        """Set what a service's cell listens to; returns whether that changed.

        `hear` is given each event that fits, once however many of the patterns it fits.
        """
        before = self._patterns.get(service, ())
        if patterns == before and hear == self._ears.get(service):
            return False
        self._patterns[service] = patterns
        self._ears[service] = hear
        self._listeners = Choices((self._patterns[name], ear) for name, ear in self._ears.items())
        return patterns != before

    def patterns(self) -> set[str]:
        """Return every pattern a cell of this host listens to."""
        return {pattern for patterns in self._patterns.values() for pattern in patterns}

    def samples(self) -> Iterator[Sample]:
        """Yield how many events passed."""
        yield PUBLISHED.sample(self.published)
        yield ARRIVED.sample(self.received)
        yield DELIVERED.sample(self.delivered)

    def publish(self, topic: str, payload: Any, origin: str, trace: Trace | None = None) -> None:
        """Send an event of this host to whoever listens, anywhere; raises `InvalidArgument` for what may not travel."""
        self.send(Event(topic, encode(payload, name="payload"), origin, self._clock.time(), trace))

    def send(self, event: Event) -> None:
        """Send an event of this host that is encoded already."""
        self.published += 1
        self._deliver(event)
        self._to_sessions(event)
        self._outside(event)
        self._to_groups(event)

    def arrived(self, event: Event, host: str) -> bool:
        """Take an event from another host; returns False for one that claims to come from elsewhere."""
        if event.origin.rpartition("@")[2] != host:
            return False
        self.received += 1
        self._deliver(event)
        self._to_operators(event)
        return True

    def _deliver(self, event: Event) -> None:
        listeners = self._listeners[event.topic]
        self.delivered += len(listeners)
        for hear in listeners:
            hear(event)
