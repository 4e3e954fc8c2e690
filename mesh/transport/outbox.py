"""What waits to leave on one connection, in lanes and within bounds; says what the next frame holds.

Order of lanes: control; calls and replies, round robin over the services they belong to; items of streams, a few of
each in turn, for which a quarter of each frame is kept; events; parts of big envelopes. Small envelopes of one turn
share a frame, up to 64 KiB of bodies or 256 of them. Big envelopes go in parts, see `transfers`, each alone in a frame.

Full means: a call is refused, the oldest event is lost and counted, a reply always finds room (its caller waits), and
so does an item, whose stream asks before it makes one (`crowded`). No clock and no socket in here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from mesh import wire
from mesh.errors import Overloaded
from mesh.transport.transfers import Transfers

CALL_BYTES = 16 * 1024 * 1024
BULK_BYTES = 256 * 1024 * 1024
EVENT_BYTES = 4 * 1024 * 1024
EVENTS = 10_000
ITEM_BYTES = 4 * 1024 * 1024
ITEM_ROOM = 16 * 1024
ITEM_PLACES = 64
ITEMS_IN_TURN = 8


class Outbox:
    """The envelopes that wait for one peer."""

    def __init__(self) -> None:
        self.call_bytes = 0
        self.lost_events = 0
        self._control: deque[bytes] = deque()
        self._calls: dict[str, OrderedDict[int, bytes]] = {}
        self._lane_of: dict[int, str] = {}
        self._items: OrderedDict[int, deque[bytes]] = OrderedDict()
        self._item_bytes = 0
        self._owed = False
        self._events: deque[tuple[bytes, int]] = deque()
        self._event_bytes = 0
        self.waiting_events = 0
        self.joined = 0
        self._acks: dict[int, int] = {}
        self._transfers = Transfers()

    def __bool__(self) -> bool:
        """Tell whether a frame could leave now."""
        return bool(self._control or self._acks or self._calls or self._items or self._events or self._transfers)

    @property
    def bulk_bytes(self) -> int:
        """How much waits in big envelopes, those included that have left in part."""
        return self._transfers.size

    @property
    def waiting_bytes(self) -> int:
        """How much waits to leave, of calls, replies, items, events and big bodies together."""
        return self.call_bytes + self._item_bytes + self._event_bytes + self.bulk_bytes

    # -- filling

    def put_control(self, envelope: bytes) -> None:
        """Queue an envelope that goes before everything else."""
        self._control.append(envelope)

    def put_ack(self, transfer: int, received: int) -> None:
        """Queue the word that so much of a transfer has come; it stands for the ones that still wait."""
        self._acks[transfer] = received

    def put_call(self, number: int, service: str, envelope: wire.Packed) -> None:
        """Queue a request; raises `Overloaded` when 16 MiB of calls (256 MiB of big ones) already wait."""
        size = len(envelope)
        if isinstance(envelope, wire.BigEnvelope) or size > wire.CHUNK:
            if self.bulk_bytes and self.bulk_bytes + size > BULK_BYTES:
                raise Overloaded(
                    f"{self.bulk_bytes >> 20} MiB of big bodies already wait for this peer; try again later",
                    retry_after=1.0,
                )
            self._transfers.put(envelope, number)
            return
        if self.call_bytes + size > CALL_BYTES:
            raise Overloaded(
                f"{self.call_bytes >> 20} MiB of calls already wait for this peer; try again later", retry_after=0.1
            )
        self._put(number, service, envelope)

    def put_reply(self, number: int, service: str, envelope: wire.Packed) -> None:
        """Queue the answer to the peer's call of that number; it is never refused."""
        if isinstance(envelope, wire.BigEnvelope) or len(envelope) > wire.CHUNK:
            self._transfers.put(envelope)
        else:
            self._put(~number, service, envelope)  # below zero, for the peer's numbers are not this end's

    def put_item(self, number: int, envelope: wire.Packed) -> None:
        """Queue an envelope of the peer's stream of that number, behind the ones it has."""
        size = len(envelope)
        if isinstance(envelope, wire.BigEnvelope) or size > wire.CHUNK:
            self._transfers.put(envelope)
            return
        waiting = self._items.get(number)
        if waiting is None:
            waiting = self._items[number] = deque()
        waiting.append(envelope)
        self._item_bytes += size

    def drop_items(self, number: int) -> None:
        """Forget what waits of a stream whose reader has gone."""
        self._item_bytes -= sum(map(len, self._items.pop(number, ())))

    @property
    def crowded(self) -> bool:
        """Tell whether so much waits that no stream should make an item: 4 MiB of them, or 16 MiB of big bodies."""
        return self._item_bytes > ITEM_BYTES or self.bulk_bytes > CALL_BYTES

    def put_event(self, envelope: bytes, count: int = 1) -> None:
        """Queue an event, or the joined envelopes of `count` of them; when 4 MiB or 10,000 wait, the oldest are lost
        and counted."""
        if len(envelope) > wire.CHUNK:
            if self.bulk_bytes and self.bulk_bytes + len(envelope) > BULK_BYTES:
                self.lost_events += 1
            else:
                self._transfers.put(envelope)
            return
        self._events.append((envelope, count))
        self._event_bytes += len(envelope)
        self.waiting_events += count
        while self.waiting_events > EVENTS or self._event_bytes > EVENT_BYTES:
            oldest, lost = self._events.popleft()
            self._event_bytes -= len(oldest)
            self.waiting_events -= lost
            self.lost_events += lost

    def _put(self, number: int, service: str, envelope: bytes) -> None:
        lane = self._calls.get(service)
        if lane is None:
            lane = self._calls[service] = OrderedDict()
        lane[number] = envelope
        self._lane_of[number] = service
        self.call_bytes += len(envelope)

    def withdraw(self, number: int) -> bool:
        """Take back a request; returns True if nothing of it has left."""
        service = self._lane_of.pop(number, None)
        if service is not None:
            lane = self._calls[service]
            self.call_bytes -= len(lane.pop(number))
            if not lane:
                del self._calls[service]
            return True
        untouched, begun = self._transfers.withdraw(number)
        if begun is not None:
            self.put_control(wire.chunk(begun, 0, 0, b""))
        return untouched

    def holds(self, number: int) -> bool:
        """Tell whether nothing of this request has left yet."""
        return number in self._lane_of or self._transfers.holds(number)

    # -- leaving

    def take(self, now: float) -> Sequence[bytes | wire.Pieces]:
        """Return the envelopes of the next frame, none if there is none to send; `now` in seconds.

        Entries that hold several count as one; `joined` is then how many envelopes there are beyond that.
        """
        envelopes: list[bytes] = []
        self.joined = 0
        room = wire.CHUNK
        while self._control and len(envelopes) < wire.MAX_ENVELOPES:
            envelopes.append(self._control.popleft())
        while self._acks and len(envelopes) < wire.MAX_ENVELOPES:
            envelopes.append(wire.ack(*self._acks.popitem()))
        if self._items:
            if self._owed:
                room = self._take_items(envelopes, room)
            room = ITEM_ROOM + self._take_calls(envelopes, room - ITEM_ROOM, wire.MAX_ENVELOPES - ITEM_PLACES)
            room = self._take_items(envelopes, room)
        elif self._calls:
            room = self._take_calls(envelopes, room, wire.MAX_ENVELOPES)
        while self._events and room > 0:
            data, count = self._events[0]
            size = len(data)
            if envelopes and (size > room or len(envelopes) + self.joined + count > wire.MAX_ENVELOPES):
                break
            del self._events[0]
            self._event_bytes -= size
            self.waiting_events -= count
            self.joined += count - 1
            room -= size
            envelopes.append(data)
        if envelopes:
            return envelopes
        part = self._transfers.take(now)
        return () if part is None else (part,)

    def _take_calls(self, envelopes: list[bytes], room: int, most: int) -> int:
        """Move calls into `envelopes`, one of each service in turn; returns the room left, 0 if one did not fit."""
        before = len(envelopes)
        if len(self._calls) == 1 and self.call_bytes <= room and before + len(self._lane_of) <= most:
            envelopes += next(iter(self._calls.values())).values()  # nobody takes turns, and all go
            room -= self.call_bytes
            self._calls.clear()
            self._lane_of.clear()
            self.call_bytes = 0
            return room
        while self._calls and room > 0 and len(envelopes) < most:
            service, lane = next(iter(self._calls.items()))
            number, data = lane.popitem(last=False)
            size = len(data)
            if size > room and len(envelopes) > before:
                lane[number] = data
                lane.move_to_end(number, last=False)
                return 0
            del self._calls[service], self._lane_of[number]
            if lane:
                self._calls[service] = lane  # at the end: the next turn, in this frame or another, is another's
            self.call_bytes -= size
            room -= size
            envelopes.append(data)
        return room

    def _take_items(self, envelopes: list[bytes], room: int) -> int:
        """Move items into `envelopes`, a few of each stream in turn; returns the room left, 0 if one did not fit.

        One that did not fit goes first in the next frame, however many calls there are.
        """
        self._owed = False
        while self._items and room > 0 and len(envelopes) < wire.MAX_ENVELOPES:
            number, waiting = self._items.popitem(last=False)
            for _ in range(min(ITEMS_IN_TURN, len(waiting), wire.MAX_ENVELOPES - len(envelopes))):
                size = len(waiting[0])
                if size > room and envelopes:
                    self._items[number] = waiting
                    self._items.move_to_end(number, last=False)
                    self._owed = True
                    return 0
                room -= size
                self._item_bytes -= size
                envelopes.append(waiting.popleft())
            if waiting:
                self._items[number] = waiting
        return room

    def acknowledge(self, transfer: int, received: int, now: float) -> None:
        """Note that the peer has the first `received` bytes of a transfer."""
        self._transfers.acknowledge(transfer, received, now)
