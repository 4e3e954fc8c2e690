"""The monitor of a socket others connect to: who left, who was turned away and why.

A key that ZAP refuses is reported by ZAP, with its fingerprint. What is reported here never got that far: it speaks no
CURVE, encrypts for another server, or went away first (a client that sees CURVE and does not speak it often does).
libzmq names a connection by its descriptor only, so its address is known if it could still be asked for when the
connection was new. A failed handshake names none at all: it is that of the connection whose end is told next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import zmq

from mesh.transport.descriptor import UNKNOWN, peer_address
from mesh.transport.loop import LoopSocket
from mesh.transport.profile import Socket, happenings, monitor
from mesh.transport.zap import OnRefused

_EVENTS = (
    zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_REASONS: Mapping[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "it does not speak CURVE",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "it expects another server key, or does not hold its own",
}
_REFUSED_BY_ZAP = ""


class Entrance:
    """Tells of the connections of one socket; to be opened on the loop, before the socket binds.

    `left` is told of each connection that got in and has ended, `refused` of each that never got in.
    """

    def __init__(self, socket: Socket, *, left: Callable[[int], None], refused: OnRefused) -> None:
        self._left = left
        self._refused = refused
        self._addresses: dict[int, str] = {}
        self._failure: str | None = None
        self._monitor = LoopSocket(monitor(socket, _EVENTS), self.drain)

    @property
    def connections(self) -> int:
        """How many connections are open, those still shaking hands included."""
        return len(self._addresses)

    def drain(self) -> bool:
        """Tell of everything that happened so far; returns False, for nothing is left."""
        for event, value in list(happenings(self._monitor.socket)):
            if event == zmq.EVENT_ACCEPTED:
                self._addresses[value] = peer_address(value)
            elif event == zmq.EVENT_DISCONNECTED:
                self._ended(value)
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._failure = _REFUSED_BY_ZAP
            elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self._failure = _REASONS.get(value, f"protocol error {value:#x}")
            elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self._failure = "it went away before it showed a key"
        return False

    def close(self) -> None:
        """Stop telling."""
        self._monitor.close()

    def _ended(self, descriptor: int) -> None:
        address = self._addresses.pop(descriptor, UNKNOWN)
        failure, self._failure = self._failure, None
        if failure is None:
            self._left(descriptor)
        elif failure is not _REFUSED_BY_ZAP:
            self._refused(address, "", failure)
