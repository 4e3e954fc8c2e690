"""Who may connect: the ZAP handler of the process (RFC 27), asked by libzmq at every CURVE handshake.

It lives in the heartbeat thread, so a blocked loop still lets hosts in, and reads an immutable allow-list that the loop
swaps. Without it libzmq would accept any client key. It must be bound before any server socket binds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from mesh.errors import StartError
from mesh.transport.keys import fingerprint
from mesh.transport.profile import ZAP_DOMAIN, Context

ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"

OnRefused = Callable[[str, str, str], None]
log = logging.getLogger("mesh.zap")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered to one handshake: `name` of the key's owner, or the `reason` it is refused for."""

    name: str = ""
    reason: str = ""
    address: str = ""
    key: str = ""


def judge(domain: bytes, address: bytes, mechanism: bytes, credentials: Sequence[bytes],
          allow: Mapping[bytes, str]) -> Verdict:
    """Return whether a client may connect; only CURVE in our domain with a key of the allow-list may."""
    where = address.decode("ascii", "replace")
    if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
        return Verdict(reason=f"{mechanism.decode('ascii', 'replace')} instead of CURVE", address=where)
    public = z85.encode(credentials[0])
    key = fingerprint(public.decode())
    if domain != ZAP_DOMAIN:
        return Verdict(reason=f"unknown domain {domain.decode('ascii', 'replace')!r}", address=where, key=key)
    name = allow.get(public)
    if name is None:
        return Verdict(reason="the key is not on the allow-list", address=where, key=key)
    return Verdict(name=name, address=where, key=key)


class Zap:
    """The handler's socket; owned by one thread, which calls `serve` when the socket can be read."""

    def __init__(self, context: Context, allow: Mapping[bytes, str], on_refused: OnRefused) -> None:
        self.allow = allow  # replaced as a whole, never changed
        self.accepted = 0
        self.refused = 0
        self._on_refused = on_refused
        self.socket = context.socket(zmq.ROUTER)
        try:
            self.socket.bind(ENDPOINT)
        except zmq.ZMQError as error:
            self.socket.close()
            raise StartError(f"this process checks keys already ({error.strerror}); it may do so once") from None

    def serve(self) -> None:
        """Answer every handshake that waits."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if len(parts) >= 8 and parts[2] == VERSION:
                self._answer(parts)
            else:  # cannot come from libzmq, which waits for no answer then
                log.warning("a handshake of %d parts that is not ZAP 1.0 is ignored", len(parts))

    def close(self) -> None:
        """Stop answering; later handshakes fail."""
        self.socket.close()

    def _answer(self, parts: list[bytes]) -> None:
        peer, empty, version, number, domain, address, _, mechanism, *credentials = parts
        verdict = judge(domain, address, mechanism, credentials, self.allow)
        code, text = (b"400", b"refused") if verdict.reason else (b"200", b"OK")
        self.socket.send_multipart([peer, empty, version, number, code, text, verdict.name.encode(), b""])
        if not verdict.reason:
            self.accepted += 1
            return
        self.refused += 1
        try:
            self._on_refused(verdict.address, verdict.key, verdict.reason)
        except Exception:  # whoever is told must not keep others from being let in
            log.exception("a refusal of %s could not be reported", verdict.address)
