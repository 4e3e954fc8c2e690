"""One connection, whichever end opened it: frames out of the outbox, frames in, big envelopes put together.

A link (the pool's end) and a session (the listener's end) are channels that differ in how they send and in what they
do with an envelope.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections import deque

from mesh import wire
from mesh.clock import Clock, Timer
from mesh.errors import ProtocolError
from mesh.metrics import Traffic
from mesh.transport.arrivals import Arrivals
from mesh.transport.outbox import Outbox
from mesh.wire import Envelope

AGE_WINDOW = 60.0
AGE_SLOTS = 6
OLD = 1.0
GRACE = 0.05
BAD_FRAMES = 3
BAD_SECONDS = 10.0
RETRY = 0.05
EAGER = 16
COPIED = 32 * 1024


class FrameAge:
    """How long frames of one peer were under way, beyond the fastest of the last 60 s.

    Two monotonic clocks have no common zero, so only the difference to the quickest frame can be known; a frame that
    waited while a process was frozen shows its full age.
    """

    def __init__(self) -> None:
        self._slots: deque[tuple[int, float]] = deque(maxlen=AGE_SLOTS)
        self._least = sys.float_info.max

    def of(self, stamp: float, arrival: float) -> float:
        """Return the age in seconds of a frame with `stamp` seconds of the sender that arrived at `arrival`."""
        gap = arrival - stamp
        slot = int(arrival / (AGE_WINDOW / AGE_SLOTS))
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, gap))
            self._least = min(least for number, least in self._slots if number > slot - AGE_SLOTS)
        elif gap < self._slots[-1][1]:
            self._slots[-1] = (slot, gap)
            self._least = min(self._least, gap)
        return gap - self._least


class Channel(ABC):
    """The part of a connection that both ends share.

    Where `waits_for_news`, a frame that was long under way is kept for a moment: this program stood still, and
    libzmq's thread, which stood still as well, may still have to notice that whoever sent it is gone.
    """

    waits_for_news = False
    copies = True
    """Whether the next frame is better received as a copy: that is cheaper but for large ones, which come in rows."""

    def __init__(self, peer: str, clock: Clock, traffic: Traffic) -> None:
        self.peer = peer
        self.outbox = Outbox()
        self._clock = clock
        self._traffic = traffic
        self._age = FrameAge()
        self._lost = 0
        self._arrivals = Arrivals()
        self._held: list[tuple[list[Envelope], float]] = []
        self._holding: Timer | None = None
        self._bad: deque[float] = deque(maxlen=BAD_FRAMES)
        self._scheduled = False
        self._reading = False
        self._stuck: bytes | None = None
        self._retry: Timer | None = None
        self._fresh = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- what the two ends do differently

    @abstractmethod
    def transmit(self, frame: bytes) -> bool:
        """Send one frame; returns False if the peer cannot take it now."""

    def may_flush(self) -> bool:
        """Tell whether the connection is ready for anything but its greeting."""
        return True

    @abstractmethod
    def handle(self, envelope: Envelope, shift: float) -> None:
        """Do what an envelope asks; `shift` seconds turn the sender's clock into this one."""

    @abstractmethod
    def undecodable(self, error: ProtocolError, repeated: bool) -> None:
        """Be told of a frame that did not decode; `repeated` when it was the third within 10 s."""

    @abstractmethod
    def events_lost(self, count: int) -> None:
        """Be told how many events of this peer were lost since the last frame."""

    # -- out

    def dirty(self) -> None:
        """Have the outbox leave at the end of this turn of the loop, or as soon as it holds a good frame's worth.

        What is put there while a frame is read leaves when that has been read: it is the answers to what the frame
        held. Behind all that the turn begins they would come late.
        A turn that puts 64 answers into one frame has its peer idle until the last is ready, and is idle itself
        afterwards; in smaller frames both work at the same time.
        """
        self._fresh += 1
        if self._fresh >= EAGER:
            self._fresh = 0
            self.flush()
        elif not self._reading:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Have the outbox leave at the end of this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            if self._loop is None:  # kept, because to ask for it costs a system call before Python 3.12
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self._fresh = 0
        self.flush()

    def send_event(self, envelope: bytes) -> None:
        """Queue an already encoded event."""
        self.outbox.put_event(envelope)
        self.dirty()

    def flush(self) -> None:
        """Send frames until the outbox is empty or the peer cannot take more."""
        if not self.may_flush():
            return
        now = self._clock.monotonic()
        while True:
            frame = self._stuck
            if frame is None:
                envelopes = self.outbox.take(now)
                if not envelopes:
                    return
                count = len(envelopes) + self.outbox.joined
                frame = wire.frame(int(now * 1000), self.outbox.lost_events, envelopes, count)
                self._traffic.envelopes_out += count
            if not self.transmit(frame):
                self._stuck = frame
                if self._retry is None:
                    self._retry = self._clock.call_later(RETRY, self._try_again)
                return
            self._stuck = None
            self._traffic.frames_out += 1
            self._traffic.bytes_out += len(frame)

    def _try_again(self) -> None:
        self._retry = None
        self.flush()

    @property
    def blocked(self) -> bool:
        """Tell whether a frame waits because the peer could not take it."""
        return self._stuck is not None

    # -- in

    def note_stamp(self, stamp: int) -> None:
        """Learn from a frame that was read elsewhere (the greeting) how long frames of this peer take."""
        self._age.of(stamp / 1000, self._clock.monotonic())

    def receive(self, data: bytes | memoryview) -> int:
        """Take one frame; returns how many envelopes it held. What does not decode is counted, never raised."""
        arrival = self._clock.monotonic()
        self._traffic.frames_in += 1
        size = len(data)
        self._traffic.bytes_in += size
        self.copies = size < COPIED
        try:
            frame = wire.decode_frame(data)
        except ProtocolError as error:
            self._count_bad(error, arrival)
            return 1
        envelopes = frame.envelopes
        self._traffic.envelopes_in += len(envelopes)
        if frame.lost > self._lost:
            self._traffic.events_lost += frame.lost - self._lost
            self.events_lost(frame.lost - self._lost)
            self._lost = frame.lost
        stamp = frame.stamp / 1000
        age = self._age.of(stamp, arrival)
        shift = arrival - stamp - age
        if self._held or (age > OLD and self.waits_for_news):
            self._hold(envelopes, shift)
        else:
            self._take(envelopes, shift, arrival)
        return len(envelopes)

    def _hold(self, envelopes: list[Envelope], shift: float) -> None:
        """Keep a frame for a moment, and those that come after it."""
        if not self._held:
            self._holding = self._clock.call_later(GRACE, self._let_go)
        self._held.append((envelopes, shift))

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for envelopes, shift in held:
            self._take(envelopes, shift, self._clock.monotonic())

    def _take(self, envelopes: list[Envelope], shift: float, arrival: float) -> None:
        """Do what the envelopes of one frame ask, and send what that leaves to be sent."""
        self._reading = True
        try:
            for envelope in envelopes:
                try:
                    kind = envelope[0]
                    if kind == wire.CHUNK_OF:
                        self._take_part(envelope, shift)
                    elif kind == wire.ACK:
                        self.outbox.acknowledge(envelope[1], envelope[2], arrival)
                        self.dirty()
                    else:
                        self.handle(envelope, shift)
                except ProtocolError as error:
                    self._count_bad(error, arrival)
        finally:
            self._reading = False
            if self._fresh:
                self._fresh = 0
                self.flush()

    def _count_bad(self, error: ProtocolError, now: float) -> None:
        self._traffic.undecodable += 1
        self._bad.append(now)
        repeated = len(self._bad) == BAD_FRAMES and now - self._bad[0] <= BAD_SECONDS
        self.undecodable(error, repeated)

    def _take_part(self, envelope: Envelope, shift: float) -> None:
        _, name, total, offset, part = envelope
        if total == 0:
            self._arrivals.drop(name)
            return
        received, whole = self._arrivals.take(name, total, offset, part)
        self.outbox.put_ack(name, received)
        self._flush_soon()  # one word for all parts of a turn
        if whole is not None:
            self.handle(whole, shift)

    def forget(self) -> None:
        """Drop what waits and what is half received: the connection is gone."""
        self._traffic.events_dropped += self.outbox.lost_events + self.outbox.waiting_events
        self.outbox = Outbox()
        self._arrivals.clear()
        self._held.clear()
        if self._holding is not None:
            self._holding.cancel()
        self._stuck = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._lost = 0
        self._age = FrameAge()

