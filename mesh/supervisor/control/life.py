"""The life of one agent, and of the host."""

from __future__ import annotations

from typing import Any

from mesh.address import nearest
from mesh.agent.operation import operation
from mesh.config import Isolation
from mesh.errors import InvalidArgument
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.control.ruled import Family

CONFIG = "config"
GRACE = 20.0
RUNGS: tuple[Isolation, ...] = ("coroutine", "thread", "process")


class Life(Family):
    """Start, stop, drain, restart, reload and isolate."""

    @operation(idempotent=True)
    async def agent_start(self, service: str) -> dict[str, Any]:
        """Start an agent, also out of quarantine, with a fresh budget; waits for the outcome."""
        cell = self._cell(service)
        warning = await self._ruled.wishes.start(cell)
        return self._outcome(cell, warning)

    @operation(idempotent=True)
    async def agent_stop(self, service: str) -> dict[str, Any]:
        """Drain and stop an agent; it stays stopped until an operator starts it."""
        cell = self._cell(service)
        warning = await self._ruled.wishes.stop(cell)
        return self._outcome(cell, warning)

    @operation(idempotent=True)
    async def agent_drain(self, service: str, grace_s: float = GRACE) -> dict[str, Any]:
        """Take no new calls, let those that run and wait end within `grace_s`, then stop; it stays stopped."""
        cell = self._cell(service)
        warning = await self._ruled.wishes.drain(cell, grace_s)
        return self._outcome(cell, warning)

    @operation
    async def agent_reload(self, service: str, force: bool = False) -> dict[str, Any]:
        """Put an agent of the code on disk in the place of the one that runs; no call is lost.

        Whatever the new one fails with leaves the old one serving, and so does code that would break callers of the
        old one, unless it is forced.
        """
        cell = self._cell(service)
        done = await self._ruled.editions.reload(cell, force=force)
        return {**self._outcome(cell, None), **done.row(), "version": cell.offer.version}

    @operation
    async def agent_restart(self, service: str, rolling: bool = False) -> dict[str, Any]:
        """Stop an agent and start it anew with a fresh budget; `rolling` sets the new one up beside the old."""
        cell = self._cell(service)
        if rolling and cell.state.serving:
            renewed = await cell.renew(cell.spec)
            cell.life.note(f"restarted: the new one was set up {renewed.how} the old")
            return self._outcome(cell, None)
        await cell.stop("restarted by an operator")
        warning = await self._ruled.wishes.start(cell)
        return self._outcome(cell, warning)

    @operation(idempotent=True)
    async def agent_isolate(self, service: str, isolation: str) -> dict[str, Any]:
        """Have an agent run as a coroutine, in a thread or in a process, or where its config says (`config`).

        Answers when it does; calls that arrive meanwhile wait for it.
        """
        cell = self._cell(service)
        wanted = None if isolation == CONFIG else _rung(isolation)
        warning = await self._ruled.wishes.isolate(cell, wanted, "by an operator")
        return {**self._outcome(cell, warning), "isolation": cell.isolation, "pid": cell.pid}

    @operation
    async def shutdown(self) -> None:
        """Drain and stop this host; answers when that has begun."""
        self._ruled.shut_down()

    def _outcome(self, cell: Cell, warning: str | None) -> dict[str, Any]:
        return {"service": cell.service, "host": self._ruled.name, "state": cell.state.value,
                "reason": cell.lifecycle.reason, "warning": warning}


def _rung(text: str) -> Isolation:
    for known in RUNGS:
        if known == text:
            return known
    like = nearest(text, [*RUNGS, CONFIG])
    raise InvalidArgument(f"isolation is {text!r}{f', did you mean {like}?' if like else ''}; there are "
                          f"{', '.join(RUNGS)}, and {CONFIG} for what its file says", path="isolation")
