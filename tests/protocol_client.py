"""A client written from docs/protocol.md alone, with nothing but pyzmq and msgpack; it blocks while it waits."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator
from typing import Any

import msgpack
import zmq

VERSION = 1
HELLO, WELCOME, REFUSED, RESET, LEAVING, CALL, REPLY, ERROR, CANCEL, EVENT, CHUNK, ACK, INTEREST = range(1, 14)
OPEN, OPENED, ITEM, CREDIT, END, ITEMS = range(16, 22)
PART = 65_536
WINDOW = 4


class Refused(Exception):
    """The listener does not want us."""


class CallFailed(Exception):
    """A call was answered with an error: its code, and what it carries."""

    def __init__(self, code: str, details: dict[str, Any]) -> None:
        super().__init__(f"{code}: {details.get('message')}")
        self.code = code
        self.details = details


class Client:
    """One connection."""

    def __init__(self, context: Any, endpoint: str, *, server_key: str, public: str, secret: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.ROUTING_ID, b"\x01" + os.urandom(15)), (zmq.IMMEDIATE, 1), (zmq.LINGER, 0), (zmq.RECONNECT_IVL, -1),
            (zmq.RCVHWM, 0), (zmq.HEARTBEAT_IVL, 500), (zmq.HEARTBEAT_TIMEOUT, 2000), (zmq.HEARTBEAT_TTL, 2000),
            (zmq.CURVE_SERVERKEY, server_key.encode()), (zmq.CURVE_PUBLICKEY, public.encode()),
            (zmq.CURVE_SECRETKEY, secret.encode()),
        ):
            self.socket.setsockopt(option, value)
        self.events: deque[dict[str, Any]] = deque()
        self.lost = 0
        self._numbers = iter(range(1, 1 << 62))
        self._answers: dict[int, Any] = {}
        self._items: dict[int, dict[int, Any]] = {}
        self._ends: dict[int, int] = {}
        self._incoming: dict[int, bytearray] = {}
        self._acknowledged: dict[int, int] = {}
        self.socket.connect(endpoint)

    def greet(self, mesh: str, interest: list[str], timeout: float = 5.0) -> dict[str, Any]:
        """Say hello; returns who answered."""
        who = {"mesh": mesh, "kind": "operator", "host": "tiny", "incarnation": 1, "interest": interest}
        self._send([HELLO, VERSION, msgpack.packb(who)])
        kind, *rest = self._receive(time.monotonic() + timeout)[0]
        if kind != WELCOME:
            raise Refused(msgpack.unpackb(rest[-1]) if kind == REFUSED else kind)
        welcome: dict[str, Any] = msgpack.unpackb(rest[-1])
        return welcome

    def begin(self, target: str, arguments: dict[str, Any], timeout: float = 5.0) -> int:
        """Send a call; returns its number."""
        service, operation = target.split(".")
        number = next(self._numbers)
        trace = os.urandom(24) + bytes(9)
        self._send_any([CALL, number, _now() + int(timeout * 1000), service, operation, None, "tiny", [], trace, b"",
                        msgpack.packb(arguments)])
        return number

    def finish(self, number: int, timeout: float = 5.0) -> Any:
        """Return the result of a call; raises `CallFailed`."""
        until = time.monotonic() + timeout
        while number not in self._answers:
            self._take(until)
        answer = self._answers.pop(number)
        if isinstance(answer, CallFailed):
            raise answer
        return answer

    def call(self, target: str, arguments: dict[str, Any], timeout: float = 5.0) -> Any:
        """Call an operation and return its result."""
        return self.finish(self.begin(target, arguments, timeout), timeout)

    def stream(
        self, target: str, arguments: dict[str, Any], credit: int, timeout: float = 5.0
    ) -> Generator[Any, None, None]:
        """Yield the items of an operation; closed before the end, it has the callee stop."""
        service, operation = target.split(".")
        number = next(self._numbers)
        self._send_any([OPEN, number, _now() + int(timeout * 1000), service, operation, None, "tiny", [],
                        os.urandom(24) + bytes(9), b"", credit, msgpack.packb(arguments)])
        items = self._items[number] = {}
        taken = 0
        try:
            while taken != self._ends.get(number):
                while taken not in items and taken != self._ends.get(number) and number not in self._answers:
                    self._take(time.monotonic() + timeout)
                if taken in items:
                    yield items.pop(taken)
                    taken += 1
                    if taken % (credit // 2) == 0:
                        self._send([CREDIT, number, taken, b""])
                elif number in self._answers:
                    answer = self._answers.pop(number)
                    if isinstance(answer, CallFailed):
                        raise answer
                    yield answer
                    return
        except GeneratorExit:
            self.cancel(number)
            raise
        finally:
            del self._items[number]

    def cancel(self, number: int) -> None:
        """Say that nobody waits for a call any more."""
        self._send([CANCEL, number, b""])

    def listen(self, patterns: list[str]) -> None:
        """Ask for the events of other topics than before."""
        self._send([INTEREST, msgpack.packb(patterns)])

    def next_event(self, timeout: float = 5.0) -> dict[str, Any]:
        """Return the next event."""
        until = time.monotonic() + timeout
        while not self.events:
            self._take(until)
        return self.events.popleft()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    # -- frames

    def _send(self, envelope: list[Any]) -> None:
        self.socket.send(msgpack.packb([_now(), 0, envelope]))

    def _send_any(self, envelope: list[Any]) -> None:
        """Send an envelope in a frame of its own, or in parts if it is big."""
        data = msgpack.packb(envelope)
        if len(data) <= PART:
            self._send(envelope)
            return
        transfer = next(self._numbers)
        self._acknowledged[transfer] = 0
        for offset in range(0, len(data), PART):
            while offset - self._acknowledged[transfer] >= WINDOW * PART:
                self._take(time.monotonic() + 5)
            self._send([CHUNK, transfer, len(data), offset, data[offset:offset + PART]])

    def _receive(self, until: float) -> list[list[Any]]:
        if not self.socket.poll(max(0, int((until - time.monotonic()) * 1000))):
            raise TimeoutError
        frame: list[Any] = msgpack.unpackb(self.socket.recv())
        self.lost = frame[1]
        return frame[2:]

    def _take(self, until: float) -> None:
        for envelope in self._receive(until):
            self._handle(envelope)

    def _handle(self, envelope: list[Any]) -> None:
        kind, *fields = envelope
        if kind == REPLY:
            self._answers[fields[0]] = msgpack.unpackb(fields[4])
        elif kind == ERROR:
            self._answers[fields[0]] = CallFailed(fields[2], msgpack.unpackb(fields[4]))
        elif kind == ITEM and fields[0] in self._items:
            self._items[fields[0]][fields[1]] = msgpack.unpackb(fields[2])
        elif kind == ITEMS and fields[0] in self._items:
            self._items[fields[0]].update(enumerate(map(msgpack.unpackb, fields[2]), fields[1]))
        elif kind == END:
            self._ends[fields[0]] = fields[1]
            if fields[2] is not None:
                self._answers[fields[0]] = CallFailed(fields[2], msgpack.unpackb(fields[3]))
        elif kind == EVENT:
            self.events.append({"topic": fields[0], "origin": fields[1], "payload": msgpack.unpackb(fields[4])})
        elif kind == ACK:
            self._acknowledged[fields[0]] = fields[1]
        elif kind == CHUNK:
            self._part(*fields)
        elif kind not in (OPENED, ITEM, ITEMS):
            raise Refused(kind)

    def _part(self, transfer: int, total: int, offset: int, part: bytes) -> None:
        parts = self._incoming.setdefault(transfer, bytearray())
        parts += part
        self._send([ACK, transfer, len(parts), b""])
        if len(parts) == total:
            self._handle(msgpack.unpackb(self._incoming.pop(transfer)))


def _now() -> int:
    return int(time.monotonic() * 1000)
