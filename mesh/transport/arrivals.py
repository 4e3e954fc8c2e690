"""Big envelopes on their way in over one connection: parts in order, the body laid down once, where it will be read.

What they take is bounded by what has come, never by what was announced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

from mesh import wire
from mesh.errors import ProtocolError
from mesh.wire import Envelope

MAX_UNFINISHED = 2 * wire.MAX_BODY


@dataclass(slots=True)
class _Arrival:
    """One envelope in part; `body` hands its bytes on without a copy when they are all there."""

    envelope: Envelope
    total: int
    received: int = 0
    body: BytesIO = field(default_factory=BytesIO)


class Arrivals:
    """The envelopes that have come in part from one peer; `size` is what they hold, in bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._unfinished: dict[int, _Arrival] = {}

    def __len__(self) -> int:
        return len(self._unfinished)

    def take(self, name: int, total: int, offset: int, part: bytes | memoryview) -> tuple[int, Envelope | None]:
        """Take a part; returns how much has come of its envelope, and that once it is whole.

        Raises `ProtocolError`, and the transfer is forgotten, for a part that does not follow what has come, for one
        that is none of an envelope, and beyond 512 MiB in all.
        """
        arrival = self._unfinished.get(name)
        come = arrival.received if arrival is not None else 0
        try:
            if (
                offset != come or not part or offset + len(part) > total or total > wire.MAX_BODY + wire.MAX_HEADER
                or (arrival is not None and arrival.total != total)
            ):
                raise ProtocolError(f"part {offset}+{len(part)} of {total} bytes does not follow what has arrived")
            if self.size + len(part) > MAX_UNFINISHED:
                raise ProtocolError("more than 512 MiB of unfinished big bodies on one connection")
            begin = 0
            if arrival is None:
                envelope, begin = wire.begun_envelope(part, total)
                arrival = self._unfinished[name] = _Arrival(envelope, total)
        except ProtocolError:
            self.drop(name)
            raise
        arrival.body.write(memoryview(part)[begin:])
        arrival.received += len(part)
        self.size += len(part)
        if arrival.received < total:
            return arrival.received, None
        self.drop(name)
        arrival.envelope[-1] = arrival.body.getvalue()
        return total, arrival.envelope

    def drop(self, name: int) -> None:
        """Forget what has come of an envelope."""
        arrival = self._unfinished.pop(name, None)
        if arrival is not None:
            self.size -= arrival.received

    def clear(self) -> None:
        """Forget everything."""
        self._unfinished.clear()
        self.size = 0
