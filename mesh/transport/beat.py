"""One host's heartbeat to the registry: a connection of its own, and a sign of progress on it each half second.

Rules this file holds to:
- The link says that the process lives: libzmq answers for it even while Python cannot. The application heartbeat says
  how long ago the loop last turned.
- One heartbeat is in flight. The next waits for the registry's echo, so nothing piles up for a registry that is slow.
- Each dial is a new DEALER with a new routing id. When the link is lost the next dial comes after 50 ms, doubling to
  500 ms; it is up again with the registry's WELCOME.

It is driven by the heartbeat thread and knows neither threads nor what the registry makes of it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import zmq

from mesh import wire
from mesh.clock import Clock
from mesh.errors import ProtocolError
from mesh.transport import profile
from mesh.transport.keys import KeyPair

INTERVAL = 0.5
REDIAL_FIRST = 0.05
REDIAL_MOST = 0.5
DIAL_SECONDS = 6.0  # connect time-out and handshake limit of the profile, and a second
GREETING_SECONDS = 10.0
FRAMES_PER_TURN = 64

_LOST = (
    zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
log = logging.getLogger("mesh.heartbeat")


@dataclass(frozen=True, slots=True)
class Target:
    """Where heartbeats go and what they tell; the callables are called in the heartbeat thread and must not wait."""

    endpoint: str
    server_key: str | None
    own: KeyPair | None
    who: wire.Hello
    progress: Callable[[], float]
    inventory_hash: Callable[[], bytes]
    on_state: Callable[[bool], None]


class Beat:
    """The connection for one target. `turn` does what is to be done, `due` says when it wants the next turn."""

    def __init__(self, context: profile.Context, target: Target, clock: Clock) -> None:
        self.state: Literal["waiting", "dialling", "greeting", "up"] = "waiting"
        self.due = clock.monotonic()
        self.sent = 0
        self._context = context
        self._target = target
        self._clock = clock
        self._dealer: profile.Socket | None = None
        self._monitor: profile.Socket | None = None
        self._delay = REDIAL_FIRST
        self._in_flight = False
        self._reason = ""

    @property
    def sockets(self) -> tuple[profile.Socket, ...]:
        """The sockets that wake this connection when they can be read.

        Once it is up an echo can wait until the next heartbeat is due: half of an idle host's wake-ups are saved.
        """
        awaited = (self._monitor, None if self.state == "up" else self._dealer)
        return tuple(socket for socket in awaited if socket is not None)

    def turn(self) -> None:
        """Read what has come and do what is due."""
        if self._monitor is not None:
            for event, _ in list(profile.happenings(self._monitor)):
                self._happened(event)
        self._read()
        if self._clock.monotonic() >= self.due:
            self._act()

    def close(self) -> None:
        """Close the sockets; `on_state` is not told, for this is its owner's own wish."""
        for socket in (self._monitor, self._dealer):
            if socket is not None:
                socket.close()
        self._dealer = self._monitor = None

    def fail(self, reason: str) -> None:
        """Give the connection up and dial again later."""
        was_up = self.state == "up"
        self.close()
        self.state = "waiting"
        self.due = self._clock.monotonic() + self._delay * random.uniform(0.8, 1.2)
        self._delay = min(self._delay * 2, REDIAL_MOST)
        if reason != self._reason:  # the same reason twice a second is told once
            self._reason = reason
            log.warning("no heartbeats to %s: %s", self._target.endpoint, reason)
        if was_up:
            self._target.on_state(False)

    def _act(self) -> None:
        match self.state:
            case "waiting":
                self._dial()
            case "dialling":
                self.fail("no connection in time")
            case "greeting":
                self.fail("no answer in time")
            case "up":
                self._send_heartbeat()

    def _dial(self) -> None:
        target = self._target
        self._dealer = profile.dealer(self._context, own=target.own, server_key=target.server_key)
        self._monitor = profile.monitor(self._dealer, _LOST | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.state = "dialling"
        self.due = self._clock.monotonic() + DIAL_SECONDS
        self._in_flight = False
        self._dealer.connect(target.endpoint)

    def _happened(self, event: int) -> None:
        if self._dealer is None:
            return  # news of a connection that was given up a moment ago
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.state = "greeting"
            self.due = self._clock.monotonic() + GREETING_SECONDS
            self._send(wire.hello(self._target.who))
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.fail("this host's key is refused there; add it to config/hosts.yaml (mesh keys show prints the line)")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # all that libzmq says about a wrong server key
            self.fail("what listens there did not prove the expected key; it is another program, or stands still")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self.fail("what listens there does not speak this protocol or this security")
        elif event == zmq.EVENT_CLOSED:
            self.fail("nothing listens there")
        else:
            self.fail("the connection is lost" if self.state == "up" else "no answer")

    def _read(self) -> None:
        for _ in range(FRAMES_PER_TURN):
            if self._dealer is None:
                return
            try:
                data = self._dealer.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                if len(data) != 1:
                    raise ProtocolError("a frame came in several parts")
                for envelope in wire.decode_frame(data[0]).envelopes:
                    self._take(envelope)
            except ProtocolError as error:
                self.fail(str(error))

    def _take(self, envelope: wire.Envelope) -> None:
        kind = envelope[0]
        if kind == wire.ECHO:
            self._in_flight = self._in_flight and envelope[1] != self.sent
        elif kind == wire.WELCOME and self.state == "greeting":
            self._welcomed(wire.read_greeting(envelope))
        elif kind == wire.REFUSED:
            self.fail(f"refused: {wire.read_refused(envelope)}")
        elif kind == wire.RESET:
            self.fail("the registry does not know this connection any more")

    def _welcomed(self, registry: wire.Hello) -> None:
        if registry.mesh != self._target.who.mesh:
            self.fail(f"it belongs to mesh {registry.mesh!r}, this host to {self._target.who.mesh!r}")
            return
        self.state = "up"
        self.due = self._clock.monotonic()
        self._delay = REDIAL_FIRST
        self._reason = ""
        self._target.on_state(True)

    def _send_heartbeat(self) -> None:
        now = self._clock.monotonic()
        self.due = now + INTERVAL
        if self._in_flight:
            return
        age = max(0, int((now - self._target.progress()) * 1000))
        inventory = self._target.inventory_hash()
        if self._send(wire.heartbeat(self.sent + 1, age, inventory)):
            self.sent += 1
            self._in_flight = True

    def _send(self, envelope: bytes) -> bool:
        """Send one envelope in a frame of its own; tells whether the connection took it."""
        assert self._dealer is not None
        frame = wire.frame(int(self._clock.monotonic() * 1000), 0, [envelope])
        # Polling makes the socket notice a connection that has just become ready; a send alone may not look.
        if not self._dealer.poll(0, zmq.POLLOUT):
            return False
        self._dealer.send(frame, zmq.DONTWAIT)
        return True
