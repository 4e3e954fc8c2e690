"""Events on their way to many peers: those of one turn that the same peers want leave as one block of bytes.

An event is encoded once, joined with its neighbours once, and each peer's outbox gets the same block; what is done for
each peer is done once for up to 256 events. Which peers want a topic is found once and remembered until a peer comes,
goes or says that it wants other topics. Events keep their order: a block ends where an event wants other peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from mesh import wire
from mesh.message import Event
from mesh.metrics import Traffic
from mesh.transport.session import Session
from mesh.wire import PeerKind

REMEMBERED = 10_000

Audience = tuple[Session, ...]


class Fanout:
    """The events of this turn, and who hears what among `sessions`."""

    def __init__(self, sessions: Callable[[], Iterable[Session]], traffic: Traffic) -> None:
        self._sessions = sessions
        self._traffic = traffic
        self._audiences: dict[tuple[str, PeerKind | None], Audience] = {}
        self._alike: dict[Audience, Audience] = {}
        self._block: list[bytes] = []
        self._size = 0
        self._to: Audience = ()
        self._due = False

    def publish(self, event: Event, only: PeerKind | None = None) -> None:
        """Have an event leave, at the end of this turn of the loop, for every session (of a kind) that wants its topic;
        it is not encoded if none does."""
        audience = self._audiences.get((event.topic, only))
        if audience is None:
            audience = self._find(event.topic, only)
        if not audience:
            return
        envelope = wire.event(event)
        size = self._size + len(envelope)
        if audience is not self._to or size > wire.CHUNK or len(self._block) == wire.MAX_ENVELOPES:
            self.seal()
            self._to = audience
            size = len(envelope)
        self._block.append(envelope)
        self._size = size
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        self._due = False
        self.seal()

    def seal(self) -> None:
        """Have what was published so far leave now, as far as each peer takes it."""
        block, self._block = self._block, []
        self._size = 0
        if not block:
            return
        count = len(block)
        data = block[0] if count == 1 else b"".join(block)
        for session in self._to:
            if session.ended is None:
                session.outbox.put_event(data, count)
                session.flush()
            else:
                self._traffic.events_dropped += count

    def forget(self) -> None:
        """Find anew who wants what, because a session has come, gone or changed its mind."""
        self.seal()
        self._audiences.clear()
        self._alike.clear()

    def _find(self, topic: str, only: PeerKind | None) -> Audience:
        if len(self._audiences) >= REMEMBERED:
            self._audiences.clear()
            self._alike.clear()
        found = tuple(one for one in self._sessions() if topic in one.interest and only in (None, one.kind))
        audience = self._audiences[topic, only] = self._alike.setdefault(found, found)
        return audience
