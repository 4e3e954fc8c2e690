"""The event loop's time on one host: watched, billed to the agents, and said aloud when somebody holds it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mesh.clock import Clock, Timer
from mesh.policy.resolve import SUPERVISOR
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import Report
from mesh.supervisor.loop.blame import MARK_SECONDS, TOLD_EACH, Blame, User, who
from mesh.supervisor.loop.hold import LIMIT, Hold, Kind
from mesh.supervisor.loop.stand import Stands, Tenant
from mesh.supervisor.loop.watch import Watch
from mesh.throttle import Throttle

log = logging.getLogger("mesh.supervisor")

STANDING = 1.0

ADVICE: Mapping[Kind, str] = {
    Kind.COMPUTING: "take it in steps with an await between them, or set `isolation: process` in its config",
    Kind.WAITING: "await it, wrap it in self.run(...), or set `isolation: thread` in its config",
    Kind.SEIZING: "what it calls keeps the interpreter to itself; set `isolation: process` in its config",
}
_OF_THE_MESH = "that is no agent's code; a very large message, or a fault of the mesh"


class LoopTime:
    """Made in the loop's thread; `tell` takes what the launcher shows, `blamed` hears of every hold of an agent."""

    def __init__(
        self, host: str, root: Path, cells: Mapping[str, Cell], *, clock: Clock, report: Report,
        tell: Callable[[dict[str, Any]], None], blamed: Callable[[Cell, Hold], None] = lambda cell, hold: None,
    ) -> None:
        self._host = host
        self._cells = cells
        self._clock = clock
        self._report = report
        self._tell = tell
        self._blamed = blamed
        self._loop = asyncio.get_running_loop()
        self._blame = Blame(host, clock.monotonic())
        self._throttle = Throttle(TOLD_EACH)
        self._standing: dict[str, float] = {}
        self._timer: Timer | None = None
        self._watch = Watch(Stands(threading.get_ident(), self._tenants, root), self._held)
        self.overran = self._watch.overran
        self.samples = self._blame.samples

    def start(self) -> None:
        """Begin to watch and to keep the books."""
        self._watch.start()
        self._timer = self._clock.call_later(MARK_SECONDS, self._mark)

    def stop(self) -> None:
        """End both."""
        if self._timer is not None:
            self._timer.cancel()
        self._watch.stop()

    def blame(self) -> dict[str, Any]:
        """Return who used and who held the loop, for `mesh blame`."""
        now = self._clock.monotonic()
        users = list(self._users())
        on_loop = sum(user.used for user in users if user.isolation == "coroutine")
        return {
            "host": self._host, **self._blame.window(now), "limit_ms": LIMIT * 1000,
            "loop_cpu_ms": round(time.thread_time() * 1000, 1), "agents_ms": round(on_loop * 1000, 1),
            "agents": self._blame.rows(now, users),
        }

    def _mark(self) -> None:
        self._blame.mark(self._clock.monotonic(), self._users())
        self._timer = self._clock.call_later(MARK_SECONDS, self._mark)

    def _users(self) -> Iterator[User]:
        for name, cell in self._cells.items():
            yield User(name, cell.isolation, cell.stats.loop_seconds)

    def _tenants(self) -> list[Tenant]:
        """Return the agents; asked for by the watching thread."""
        return [Tenant(name, str(cell.spec.file), cell.stats) for name, cell in list(self._cells.items())]

    # -- holds

    def _held(self, hold: Hold) -> None:
        """Take a hold; comes from the watching thread."""
        if hold.lasts:
            self._lasts(hold)
        else:
            self._standing.pop(hold.place.key, None)
            self._loop.call_soon_threadsafe(self._over, hold)

    def _lasts(self, hold: Hold) -> None:
        """Say to launcher and log, while the loop cannot, that it stands: after 1 s, 10 s, 100 s."""
        due = self._standing.get(hold.place.key, STANDING)
        if hold.seconds < due:
            return
        self._standing[hold.place.key] = due * 10
        text = (f"{who(hold.place)} has held the event loop of {self._host} for {hold.seconds:.1f} s and holds it "
                f"still: {hold.kind} in {hold.place}; {_advice(hold)}")
        log.warning("%s", text)
        self._tell({"event": "blocked", "host": self._host, "service": hold.place.service, "message": text})

    def _over(self, hold: Hold) -> None:
        """Count a hold that is over, and put its place on the error bus: at once, and then once a minute."""
        tally = self._blame.note(hold)
        cell = self._cells.get(hold.place.service)
        if self._throttle.passes(hold.place.key, self._clock.monotonic()) is not None:
            self._report(
                tally.told(hold, self._host, _advice(hold)),
                severity="warning", service=hold.place.service.partition("#")[0], operation=hold.place.operation,
                context={"seconds": round(hold.seconds, 3), **tally.row()},
            )
        if cell is not None:
            self._blamed(cell, hold)


def _advice(hold: Hold) -> str:
    return _OF_THE_MESH if hold.place.service == SUPERVISOR else ADVICE[hold.kind]
