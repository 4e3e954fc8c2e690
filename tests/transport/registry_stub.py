"""The registry's end of a heartbeat connection, as far as the protocol goes; driven by hand."""

from __future__ import annotations

from contextlib import suppress

import zmq

from mesh import wire
from mesh.transport import profile
from mesh.transport.keys import KeyPair


class RegistryStub:
    """A ROUTER that keeps every envelope it gets, with the routing id it came from."""

    def __init__(self, context: profile.Context, own: KeyPair | None, endpoint: str = "tcp://127.0.0.1:*",
                 mesh: str = "home") -> None:
        self.socket = profile.router(context, own=own)
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError:
            self.socket.close()
            raise
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.heard: list[tuple[bytes, wire.Envelope]] = []
        self.names: list[str] = []
        self.mesh = mesh
        self.welcomes = True
        self.echoes = True

    def answer(self) -> None:
        """Take every frame that waits and answer as a registry would; who is gone by then gets no answer."""
        while True:
            try:
                routing_id, frame = self.socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            for envelope in wire.decode_frame(frame.bytes).envelopes:
                self.heard.append((routing_id.bytes, envelope))
                with suppress(zmq.ZMQError):
                    self._answer(routing_id.bytes, frame, envelope)

    def tell(self, routing_id: bytes, envelope: bytes) -> None:
        """Send one envelope."""
        self.socket.send_multipart([routing_id, wire.frame(0, 0, [envelope])])

    def of_kind(self, kind: int) -> list[wire.Envelope]:
        """Return what came of one kind, after answering what waits."""
        self.answer()
        return [envelope for _, envelope in self.heard if envelope[0] == kind]

    def close(self) -> None:
        """End every connection."""
        self.socket.close()

    def _answer(self, routing_id: bytes, frame: zmq.Frame, envelope: wire.Envelope) -> None:
        if envelope[0] == wire.HELLO and self.welcomes:
            try:
                self.names.append(str(frame.get("User-Id")))
            except zmq.ZMQError:
                self.names.append("")
            self.tell(routing_id, wire.welcome(wire.Hello(self.mesh, "host", "mainpc", 1)))
        elif envelope[0] == wire.HEARTBEAT and self.echoes:
            self.tell(routing_id, wire.echo(envelope[1]))
