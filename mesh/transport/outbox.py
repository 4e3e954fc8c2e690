"""What waits to leave on one connection, in lanes and within bounds; says what the next frame holds.

Order of lanes: control; calls and replies, round robin over the services they belong to; items of streams, a few of
each in turn, for which a quarter of each frame is kept; events; parts of big envelopes. Small envelopes of one turn
share a frame, up to 64 KiB of bodies or 256 of them. A big envelope goes in chunks, at most four unacknowledged on the
connection, taking turns with the other big ones, so a small call waits behind four chunks at the most.

Full means: a call is refused, the oldest event is lost and counted, a reply always finds room (its caller waits), and
so does an item, whose stream asks before it makes one (`crowded`). No clock and no socket in here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from mesh import wire
from mesh.errors import Overloaded

CALL_BYTES = 16 * 1024 * 1024
BULK_BYTES = 256 * 1024 * 1024
EVENT_BYTES = 4 * 1024 * 1024
EVENTS = 10_000
ITEM_BYTES = 4 * 1024 * 1024
ITEM_ROOM = 16 * 1024
ITEM_PLACES = 64
ITEMS_IN_TURN = 8
WINDOW = 4
ACK_TARGET = 0.020


@dataclass(slots=True)
class _Transfer:
    """One big envelope on its way out."""

    name: int
    data: bytes
    number: int | None
    sent: int = 0
    acknowledged: int = 0
    started: float = 0.0


class Outbox:
    """The envelopes that wait for one peer."""

    def __init__(self) -> None:
        self.call_bytes = 0
        self.bulk_bytes = 0
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
        self._transfers: deque[_Transfer] = deque()
        self._unfinished: dict[int, _Transfer] = {}
        self._begun_bytes = 0
        self._in_flight: deque[tuple[int, int, float]] = deque()
        self._window = WINDOW
        self._next_transfer = 0

    def __bool__(self) -> bool:
        """Tell whether a frame could leave now."""
        return bool(self._control or self._calls or self._items or self._events or self._may_send_chunk())

    @property
    def waiting_bytes(self) -> int:
        """How much waits to leave, of calls, replies, items, events and big bodies together."""
        return self.call_bytes + self._item_bytes + self._event_bytes + self.bulk_bytes

    # -- filling

    def put_control(self, envelope: bytes) -> None:
        """Queue an envelope that goes before everything else."""
        self._control.append(envelope)

    def put_call(self, number: int, service: str, envelope: bytes) -> None:
        """Queue a request; raises `Overloaded` when 16 MiB of calls (256 MiB of big ones) already wait."""
        size = len(envelope)
        if size > wire.CHUNK:
            if self.bulk_bytes and self.bulk_bytes + size > BULK_BYTES:
                raise Overloaded(
                    f"{self.bulk_bytes >> 20} MiB of big bodies already wait for this peer; try again later",
                    retry_after=1.0,
                )
            self._put_transfer(number, envelope)
            return
        if self.call_bytes + size > CALL_BYTES:
            raise Overloaded(
                f"{self.call_bytes >> 20} MiB of calls already wait for this peer; try again later", retry_after=0.1
            )
        self._put(number, service, envelope)

    def put_reply(self, number: int, service: str, envelope: bytes) -> None:
        """Queue the answer to the peer's call of that number; it is never refused."""
        if len(envelope) > wire.CHUNK:
            self._put_transfer(None, envelope)
        else:
            self._put(~number, service, envelope)  # below zero, for the peer's numbers are not this end's

    def put_item(self, number: int, envelope: bytes) -> None:
        """Queue an envelope of the peer's stream of that number, behind the ones it has."""
        size = len(envelope)
        if size > wire.CHUNK:
            self._put_transfer(None, envelope)
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
                self._put_transfer(None, envelope)
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

    def _put_transfer(self, number: int | None, envelope: bytes) -> None:
        self._next_transfer += 1
        transfer = _Transfer(self._next_transfer, envelope, number)
        self._transfers.append(transfer)
        self._unfinished[transfer.name] = transfer
        self.bulk_bytes += len(envelope)

    def withdraw(self, number: int) -> bool:
        """Take back a request; returns True if nothing of it has left."""
        service = self._lane_of.pop(number, None)
        if service is not None:
            lane = self._calls[service]
            self.call_bytes -= len(lane.pop(number))
            if not lane:
                del self._calls[service]
            return True
        for transfer in self._transfers:
            if transfer.number == number:
                self._drop(transfer)
                if transfer.sent:
                    self.put_control(wire.chunk(transfer.name, 0, 0, b""))
                return not transfer.sent
        return False

    def holds(self, number: int) -> bool:
        """Tell whether nothing of this request has left yet."""
        return number in self._lane_of or any(
            transfer.number == number and not transfer.sent for transfer in self._transfers
        )

    # -- leaving

    def take(self, now: float) -> list[bytes]:
        """Return the envelopes of the next frame, an empty list if there is none to send; `now` in seconds.

        Entries that hold several count as one; `joined` is then how many envelopes there are beyond that.
        """
        envelopes: list[bytes] = []
        self.joined = 0
        room = wire.CHUNK
        while self._control and len(envelopes) < wire.MAX_ENVELOPES:
            envelopes.append(self._control.popleft())
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
        if not envelopes and self._may_send_chunk():
            transfer = self._next_to_send()
            if transfer is not None:
                envelopes.append(self._take_chunk(transfer, now))
        return envelopes

    def _take_calls(self, envelopes: list[bytes], room: int, most: int) -> int:
        """Move calls into `envelopes`, one of each service in turn; returns the room left, 0 if one did not fit."""
        before = len(envelopes)
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

    def _may_send_chunk(self) -> bool:
        return bool(self._transfers) and len(self._in_flight) < self._window

    def _next_to_send(self) -> _Transfer | None:
        """Take the transfer whose turn it is; one more is begun only if 256 MiB hold all that are under way."""
        for _ in range(len(self._transfers)):
            transfer = self._transfers.popleft()
            size = len(transfer.data)
            if transfer.sent or not self._begun_bytes or self._begun_bytes + size <= BULK_BYTES:
                if not transfer.sent:
                    self._begun_bytes += size
                return transfer
            self._transfers.append(transfer)
        return None

    def _take_chunk(self, transfer: _Transfer, now: float) -> bytes:
        end = min(transfer.sent + wire.CHUNK, len(transfer.data))
        part = memoryview(transfer.data)[transfer.sent : end]
        packed = wire.chunk(transfer.name, len(transfer.data), transfer.sent, part)
        transfer.sent = end
        self._in_flight.append((transfer.name, end, now))
        if end < len(transfer.data):
            self._transfers.append(transfer)
        return packed

    def acknowledge(self, name: int, received: int, now: float) -> None:
        """Note that the peer has the first `received` bytes of a transfer; a slow answer narrows the window."""
        for index, (sent_name, end, sent_at) in enumerate(self._in_flight):
            if sent_name == name and end == received:
                del self._in_flight[index]
                slow = now - sent_at > ACK_TARGET
                self._window = max(1, self._window - 1) if slow else min(WINDOW, self._window + 1)
                break
        transfer = self._unfinished.get(name)
        if transfer is not None and received >= len(transfer.data):
            self._drop(transfer)

    def _drop(self, transfer: _Transfer) -> None:
        if self._unfinished.pop(transfer.name, None) is None:
            return
        self.bulk_bytes -= len(transfer.data)
        if transfer.sent:
            self._begun_bytes -= len(transfer.data)
        if transfer in self._transfers:
            self._transfers.remove(transfer)
        self._in_flight = deque(entry for entry in self._in_flight if entry[0] != transfer.name)
