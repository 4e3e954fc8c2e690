"""Big envelopes on their way out of one connection: cut into parts, in turns, as many under way as its window lets.

The body of an envelope is not copied before its parts go into frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mesh import wire
from mesh.transport.window import Window

BEGUN_BYTES = 256 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Transfer:
    """One big envelope on its way out; `number` is of the call that it is, None if it is none."""

    name: int
    envelope: wire.BigEnvelope
    number: int | None
    size: int
    sent: int = 0


class Transfers:
    """The big envelopes that wait for one peer, and those it has in part; `size` is of all of them, in bytes."""

    def __init__(self) -> None:
        self.size = 0
        self.window = Window()
        self._waiting: deque[_Transfer] = deque()
        self._unfinished: dict[int, _Transfer] = {}
        self._begun = 0
        self._last = 0

    def __bool__(self) -> bool:
        """Tell whether a part could leave now."""
        return bool(self._waiting) and self.window.part > 0

    def put(self, envelope: wire.Packed, number: int | None = None) -> None:
        """Queue an envelope behind the others; `number` if it is a call that may be taken back."""
        self._last += 1
        big = wire.BigEnvelope(envelope, b"") if isinstance(envelope, bytes) else envelope
        transfer = _Transfer(self._last, big, number, len(big))
        self._waiting.append(transfer)
        self._unfinished[transfer.name] = transfer
        self.size += transfer.size

    def take(self, now: float) -> wire.Pieces | None:
        """Return the next part of the transfer whose turn it is, None if none may leave."""
        most = self.window.part
        transfer = self._next() if most else None
        if transfer is None:
            return None
        begin, end = transfer.sent, min(transfer.sent + most, transfer.size)
        transfer.sent = end
        self.window.sent(transfer.name, end, end - begin, now)
        if end < transfer.size:
            self._waiting.append(transfer)
        return wire.part(transfer.name, transfer.envelope, begin, end)

    def _next(self) -> _Transfer | None:
        """Take the transfer whose turn it is; one more is begun only if 256 MiB hold all that are under way."""
        for _ in range(len(self._waiting)):
            transfer = self._waiting.popleft()
            if transfer.sent or not self._begun or self._begun + transfer.size <= BEGUN_BYTES:
                if not transfer.sent:
                    self._begun += transfer.size
                return transfer
            self._waiting.append(transfer)
        return None

    def acknowledge(self, name: int, received: int, now: float) -> None:
        """Note that the peer has the first `received` bytes of a transfer."""
        self.window.acknowledge(name, received, now)
        transfer = self._unfinished.get(name)
        if transfer is not None and received >= transfer.size:
            self._drop(transfer)

    def withdraw(self, number: int) -> tuple[bool, int | None]:
        """Take back a call that has not left entirely; tells if nothing of it had, or what transfer is to be ended."""
        for transfer in self._waiting:
            if transfer.number == number:
                self._drop(transfer)
                return (False, transfer.name) if transfer.sent else (True, None)
        return False, None

    def holds(self, number: int) -> bool:
        """Tell whether nothing of this call has left yet."""
        return any(transfer.number == number and not transfer.sent for transfer in self._waiting)

    def _drop(self, transfer: _Transfer) -> None:
        del self._unfinished[transfer.name]
        self.size -= transfer.size
        if transfer.sent:
            self._begun -= transfer.size
        if transfer in self._waiting:
            self._waiting.remove(transfer)
        self.window.forget(transfer.name)
