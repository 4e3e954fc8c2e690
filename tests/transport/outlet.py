"""An outlet that remembers what streams send."""

from __future__ import annotations

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.transport.outflow import Pace


class Outlet:
    """Takes the opening, items and end of every stream."""

    def __init__(self) -> None:
        self.pace = Pace(Clock(), lambda: False)
        self.sent: list[tuple[object, ...]] = []

    def send_opened(self, number: int, host: str) -> None:
        self.sent.append(("opened", number, host))

    def send_items(self, number: int, first: int, bodies: list[bytes]) -> None:
        self.sent += [("item", number, index, body) for index, body in enumerate(bodies, first)]

    def send_end(self, number: int, count: int, error: MeshError | None) -> None:
        self.sent.append(("end", number, count, "" if error is None else error.code))
