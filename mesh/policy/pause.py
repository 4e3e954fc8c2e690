"""Send nothing before the moment a callee has named: whoever was told `retry_after` is told again here until then.

To refuse a call costs the callee a few per cent of what a short call costs, so twenty times the load could take all it
has. Whoever calls on regardless is therefore held back where he is: his calls are answered at once by his own host,
and the callee sees as many as it takes to find out that it has room again. Not by chance, as in the adaptive throttling
of Google's SRE book (chapter 21), which needs minutes of history to know when to stop: the callee has said when.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

from mesh.clock import Clock
from mesh.errors import MeshError, Overloaded, RateLimited
from mesh.message import Reply, Request
from mesh.metrics import Sample, counter

MOST_PAUSES = 4096

PAUSED = counter("mesh_paused_total", "Calls that were not sent: their callee had said when to come again.", "service")


class Placed(Protocol):
    """A row of the directory, as far as it says which instance it is."""

    @property
    def host(self) -> str:
        """The host of the instance."""

    @property
    def number(self) -> int:
        """Which of the host's instances it is."""


Row = TypeVar("Row", bound=Placed)
Key = tuple[str, str, str, int]


class Pauses:
    """Until when this host sends nothing of a caller to an operation of an instance."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self._until: dict[Key, tuple[float, type[MeshError]]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __bool__(self) -> bool:
        return bool(self._until)

    def note(self, key: Key, error: Overloaded | RateLimited, now: float, most_s: float) -> None:
        """Take note of an answer that says when to come again; after `most_s` seconds that may be in any case."""
        seconds = error.details.get("retry_after")
        if not isinstance(seconds, (int, float)) or not seconds > 0:
            return
        if len(self._until) >= MOST_PAUSES:
            self._until = {one: left for one, left in self._until.items() if left[0] > now}
        if len(self._until) < MOST_PAUSES:
            self._until[key] = now + min(float(seconds), most_s), type(error)

    def left(self, key: Key, now: float) -> tuple[float, type[MeshError]] | None:
        """Return for how many seconds yet, and after which error, or None if it may be sent."""
        found = self._until.get(key)
        if found is None:
            return None
        until, kind = found
        if until <= now:
            del self._until[key]
            return None
        return until - now, kind

    def row(self, service: str) -> dict[str, int]:
        """Return what those of a service do now, for `mesh describe`."""
        return {"held": sum(1 for _, target, *_ in self._until if target.startswith(f"{service}.")),
                "refused": self.refused.get(service, 0)}

    def samples(self) -> Iterator[Sample]:
        """Yield how many calls were held back, by called service."""
        for service, count in self.refused.items():
            yield PAUSED.sample(count, service)


def pause(
    pauses: Pauses, most_s: float, clock: Clock, send: Callable[[Request, Row], Awaitable[Reply]]
) -> Callable[[Request, Row], Awaitable[Reply]]:
    """Return `send` for calls whose callee has not just asked for patience."""

    async def handle(request: Request, row: Row) -> Reply:
        key = request.caller, request.target, row.host, row.number
        if pauses:
            found = pauses.left(key, clock.monotonic())
            if found is not None:
                return _held(request, row, pauses, *found)
        reply = await send(request, row)
        if isinstance(reply.error, (Overloaded, RateLimited)):
            pauses.note(key, reply.error, clock.monotonic(), most_s)
        return reply

    return handle


def _held(request: Request, row: Placed, pauses: Pauses, left: float, kind: type[MeshError]) -> Reply:
    service = request.service
    pauses.refused[service] = pauses.refused.get(service, 0) + 1
    return Reply(error=kind(f"{request.target} was not called: {service} on {row.host} takes no more calls of "
                            f"{request.caller} for {left:.3g} s, as it has said", retry_after=left))
