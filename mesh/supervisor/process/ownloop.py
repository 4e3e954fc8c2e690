"""The loop of a cell's own process, watched: who holds it keeps that agent's other calls waiting, and is told of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mesh.clock import Clock
from mesh.config import AgentSpec
from mesh.policy.measure import CallStats
from mesh.supervisor.loop.blame import TOLD_EACH, Blame
from mesh.supervisor.loop.hold import Hold
from mesh.supervisor.loop.stand import Stands, Tenant
from mesh.supervisor.loop.watch import Watch
from mesh.throttle import Throttle

ADVICE = "its other calls waited; await it, or wrap it in self.run(...)"

Tell = Callable[[str, str | None, Mapping[str, Any]], None]


class OwnLoop:
    """Made in the loop's thread; `tell` takes text, operation and context, at once for a place and then once a minute.
    """

    def __init__(self, spec: AgentSpec, stats: CallStats, root: Path, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._blame = Blame(spec.service, clock.monotonic())
        self._throttle = Throttle(TOLD_EACH)
        tenants = [Tenant(spec.service, str(spec.file), stats)]
        self._watch = Watch(Stands(threading.get_ident(), lambda: tenants, root), self._held)
        self.overran = self._watch.overran

    def start(self) -> None:
        """Begin to watch."""
        self._watch.start()

    def stop(self) -> None:
        """Stop watching."""
        self._watch.stop()

    def _held(self, hold: Hold) -> None:
        """Take a hold; comes from the watching thread. While it lasts nothing leaves this process."""
        if not hold.lasts:
            self._loop.call_soon_threadsafe(self._over, hold)

    def _over(self, hold: Hold) -> None:
        tally = self._blame.note(hold)
        if self._throttle.passes(hold.place.key, self._clock.monotonic()) is not None:
            self._tell(tally.told(hold, "its own process", ADVICE), hold.place.operation,
                       {"seconds": round(hold.seconds, 3), **tally.row()})
