"""The outgoing connections of a process: one link per peer, opened once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mesh.clock import Clock
from mesh.errors import Unreachable
from mesh.message import Answer, Reply, Request, Responder
from mesh.metrics import Sample, Traffic, gauge
from mesh.transport import profile
from mesh.transport.keys import KeyPair
from mesh.transport.link import Link, LinkCallbacks, Peer
from mesh.transport.pending import Pending
from mesh.wire import Hello

UP = gauge("mesh_link_up", "1 while the link to a peer is up.", "peer")
WAITING = gauge("mesh_link_outbox_bytes", "What waits to leave for a peer, big bodies on their way included.", "peer")
STREAMS = gauge("mesh_link_streams", "Streams that are read and sent over the link to a peer.", "peer")
OWED = gauge("mesh_link_owed_bytes", "Small calls to a peer that it has not answered yet, those given up included.",
             "peer")
UNANSWERED = gauge("mesh_link_calls", "Calls to a peer that wait for their answer.", "peer")


class Pool:
    """Links by the name of the peer; what a call needs is its host's name.

    A `handler` answers what peers call down their links; hosts need none, for they are dialled by who calls them.
    """

    def __init__(
        self, context: profile.Context, own: KeyPair | None, greeting: Callable[[], Hello],
        pending: Pending, callbacks: LinkCallbacks, clock: Clock, traffic: Traffic, handler: Responder | None = None,
    ) -> None:
        self.links: dict[str, Link] = {}
        self._context = context
        self._own = own
        self._greeting = greeting
        self._pending = pending
        self._callbacks = callbacks
        self._clock = clock
        self._traffic = traffic
        self._handler = handler

    def connect(self, peer: Peer) -> Link:
        """Return the link to `peer`, dialling if there is none yet and following it if it has moved."""
        link = self.links.get(peer.host)
        if link is None:
            link = Link(peer, self._context, self._own, self._greeting, self._callbacks,
                        self._clock, self._traffic, self._pending, self._handler)
            self.links[peer.host] = link
            link.dial()
        else:
            link.move(peer)
        return link

    def drop(self, host: str, reason: str) -> None:
        """Close the link to `host` for good; its calls end now."""
        link = self.links.pop(host, None)
        if link is not None:
            link.close(reason)

    def up(self, host: str) -> bool:
        """Tell whether calls to `host` can leave now."""
        link = self.links.get(host)
        return link is not None and link.state == "up"

    def exchange(self, request: Request, host: str) -> Answer:
        """Send `request` to `host`, to be awaited for its reply; what cannot be sent is answered with the reason."""
        link = self.links.get(host)
        if link is None:
            return Reply(error=Unreachable(f"{request.target}: this host has no connection to {host}", began="no"))
        return link.exchange(request)

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every link."""
        for peer, link in self.links.items():
            yield UP.sample(link.state == "up", peer)
            yield WAITING.sample(link.outbox.waiting_bytes, peer)
            yield UNANSWERED.sample(len(link.waiters), peer)
            yield OWED.sample(link.owed_bytes, peer)
            yield STREAMS.sample(link.streams, peer)

    def tell(self, envelope: bytes) -> None:
        """Send a control envelope to every peer that is connected."""
        for link in self.links.values():
            if link.state == "up":
                link.outbox.put_control(envelope)
                link.dirty()

    def close(self) -> None:
        """Close every link."""
        for host in list(self.links):
            self.drop(host, "this host stops")
