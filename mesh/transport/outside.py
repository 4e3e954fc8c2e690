"""The door for readers outside the mesh: events on an XPUB, for any SUB socket with a key of the allow-list.

Rules this file holds to:
- Lossy, and honest about it: a reader that does not keep up loses events (SNDHWM 1,000) and sees the gap, because `seq`
  counts per (boot, exact topic) and is repeated each second after a topic fell silent, for a minute. Nothing is
  replayed here; history is a request.
- An event is two frames: topic and a zero byte, so that a reader can ask for exactly one topic; then one msgpack map.
- Nothing is encoded that nobody asked for. A reader has 64 subscriptions; one more ends its connection.
- It lives on the event loop and is never touched from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import zmq

from mesh.clock import Clock, Timer
from mesh.errors import StartError
from mesh.message import Event
from mesh.metrics import Sample, counter, gauge
from mesh.transport import profile
from mesh.transport.descriptor import hang_up, peer_address
from mesh.transport.entrance import Entrance
from mesh.transport.keys import KeyPair
from mesh.transport.loop import TURN_ENVELOPES, LoopSocket
from mesh.transport.sequences import Sequences
from mesh.transport.subscriptions import Subscriptions
from mesh.transport.zap import OnRefused

SENT = counter("mesh_reader_events_total", "Events sent to readers outside the mesh, however many each reached.")
READERS = gauge("mesh_readers", "Readers outside the mesh that have subscribed.")

VERSION = 1
REPEAT_SECONDS = 1.0
MAX_DATA = 256 * 1024  # a reader that stands still may hold back a thousand events
TOPIC_END = b"\0"


class Outside:
    """Publishes the events of one host; `boot` tells its runs apart and `host` its numbers from another host's."""

    def __init__(
        self, context: profile.Context, *, own: KeyPair | None, host: str, boot: int, clock: Clock,
        on_refused: OnRefused,
    ) -> None:
        self.sent = 0
        self._context = context
        self._own = own
        self._host = host
        self._boot = boot
        self._clock = clock
        self._on_refused = on_refused
        self._sequences = Sequences()
        self._subscriptions = Subscriptions()
        self._port = 0
        self._xpub: LoopSocket | None = None
        self._entrance: Entrance | None = None
        self._timer: Timer | None = None

    @property
    def readers(self) -> int:
        """How many readers have subscribed to something."""
        return self._subscriptions.readers

    @property
    def connections(self) -> int:
        """How many connections are open, strangers that still shake hands included."""
        return 0 if self._entrance is None else self._entrance.connections

    def samples(self) -> Iterator[Sample]:
        """Yield how many readers there are and what was sent to them."""
        yield SENT.sample(self.sent)
        yield READERS.sample(self.readers)

    def bind(self, endpoint: str) -> str:
        """Open the door at `endpoint` and return it with the real port; raises `StartError` if that cannot be."""
        socket = profile.xpub(self._context, own=self._own)
        entrance = Entrance(socket, left=self._left, refused=self._on_refused)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            entrance.close()
            socket.close()
            raise StartError(
                f"cannot publish events at {endpoint}: {zmq.strerror(error.errno or 0)}; another mesh or program "
                "may hold the port, or the address is not of this machine (see config/hosts.yaml)", endpoint=endpoint,
            ) from None
        bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._port = int(bound.rpartition(":")[2])
        self._entrance = entrance
        self._xpub = LoopSocket(socket, self._drain)
        self._timer = self._clock.call_later(REPEAT_SECONDS, self._repeat)
        return bound

    def close(self) -> None:
        """Close the door; readers see the connection end."""
        if self._timer is not None:
            self._timer.cancel()
        if self._entrance is not None:
            self._entrance.close()
        if self._xpub is not None:
            self._xpub.close()
        self._timer = self._entrance = self._xpub = None

    def publish(self, event: Event) -> None:
        """Send `event` to every reader that wants its topic; with none it is only counted."""
        seq = self._sequences.next(event.topic, self._clock.monotonic())
        if self._wanted(event.topic):
            self._send(event.topic, self._encoded(event, seq))

    def _wanted(self, topic: str) -> bool:
        if not self._subscriptions.readers:
            return False
        return self._xpub is not None and self._subscriptions.wanted(topic.encode() + TOPIC_END)

    def _encoded(self, event: Event, seq: int) -> bytes:
        """Return the map of an event, its body spliced in as it is; one over 256 KiB is left out and its size told."""
        fields = {**self._fields(event.topic, seq), "time": event.time, "origin": event.origin}
        if len(event.body) > MAX_DATA:
            return _packed({**fields, "omitted": len(event.body)})
        packed = _packed(fields)
        return bytes((packed[0] + 1,)) + packed[1:] + _packed("data") + event.body  # up to 15 items: one byte of header

    def _fields(self, topic: str, seq: int) -> dict[str, Any]:
        return {"v": VERSION, "seq": seq, "boot": self._boot, "host": self._host, "topic": topic}

    def _send(self, topic: str, content: bytes) -> None:
        assert self._xpub is not None
        socket = self._xpub.socket
        socket.send(topic.encode() + TOPIC_END, zmq.SNDMORE | zmq.DONTWAIT)
        socket.send(content, zmq.DONTWAIT)
        self._xpub.sent()
        self.sent += 1

    def _repeat(self) -> None:
        """Tell the last number of topics that fell silent, so that a lost last event shows too."""
        self._timer = self._clock.call_later(REPEAT_SECONDS, self._repeat)
        for topic, seq in self._sequences.repeats(self._clock.monotonic(), self._wanted):
            self._send(topic, _packed({**self._fields(topic, seq), "repeat": True}))

    # -- what readers send

    def _drain(self) -> bool:
        for _ in range(TURN_ENVELOPES):
            if self._xpub is None or self._entrance is None:
                return False
            try:
                frame = self._xpub.socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                self._subscriptions.read_empty()
                return False
            self._entrance.drain()  # news of connections comes before what they sent
            self._take(frame)
        return True

    def _take(self, frame: zmq.Frame) -> None:
        content = frame.bytes
        if content[:1] not in (b"\0", b"\1"):
            return  # a message of an XSUB, which nobody here asked for
        prefix = content[1:]
        try:
            reader = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            self._subscriptions.taken_back(prefix)
            return
        if content[:1] == b"\0":
            self._subscriptions.remove(reader, prefix)
            return
        refusal = self._subscriptions.add(reader, prefix)
        if refusal is not None:
            address = peer_address(reader)
            hang_up(reader, self._port)
            self._on_refused(address, "", refusal)

    def _left(self, reader: int) -> None:
        self._subscriptions.left(reader)
        if self._xpub is not None:
            self._xpub.look()  # so that the queue is seen to be empty even if nothing more comes


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed

