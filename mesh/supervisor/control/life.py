"""The life of one agent, and of the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mesh.address import nearest, split_instance
from mesh.agent.operation import operation
from mesh.config import MOST, Isolation
from mesh.errors import InvalidArgument
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.control.ruled import Family

CONFIG = "config"
GRACE = 20.0
RUNGS: tuple[Isolation, ...] = ("coroutine", "thread", "process")


class Life(Family):
    """Start, stop, drain, restart, reload, isolate and scale."""

    @operation(idempotent=True)
    async def agent_start(self, service: str) -> dict[str, Any]:
        """Start an agent, or one instance as `nlu#2`, also out of quarantine, with a fresh budget.

        Waits for the outcome.
        """
        cells = self._cells(service)
        warning = await self._ruled.wishes.start(service)
        return self._outcome(cells, warning)

    @operation(idempotent=True)
    async def agent_stop(self, service: str) -> dict[str, Any]:
        """Drain and stop an agent, or one instance; it stays stopped until an operator starts it."""
        cells = self._cells(service)
        warning = await self._ruled.wishes.stop(service)
        return self._outcome(cells, warning)

    @operation(idempotent=True)
    async def agent_drain(self, service: str, grace_s: float = GRACE) -> dict[str, Any]:
        """Take no new calls, let those that run and wait end within `grace_s`, then stop; it stays stopped."""
        cells = self._cells(service)
        warning = await self._ruled.wishes.drain(service, grace_s)
        return self._outcome(cells, warning)

    @operation
    async def agent_reload(self, service: str, force: bool = False) -> dict[str, Any]:
        """Put an agent of the code on disk in the place of the one that runs; no call is lost.

        Its instances follow one after another. Whatever the new one fails with leaves the old one serving, and so does
        code that would break callers of the old one, unless it is forced.
        """
        cells, cut = self._cells(service), 0
        for cell in cells:
            done = await self._ruled.editions.reload(cell, force=force)
            cut += done.cut
            if not done.taken:
                break
        return {**self._outcome(cells, None), **replace(done, cut=cut).row(), "version": cells[0].offer.version}

    @operation
    async def agent_begin_version(self, service: str, version: str) -> dict[str, Any]:
        """Start the code on disk beside an agent, called as `nlu:v2`; it hears no events."""
        self._cells(service)
        return self._outcome([await self._ruled.versions.begin(service, version)], None)

    @operation
    async def agent_promote(self, service: str, force: bool = False) -> dict[str, Any]:
        """Put the code of a version, as `nlu:v2`, in the place of its service's; the version is gone then."""
        cells, done = await self._ruled.versions.promote(service, force=force)
        return {**self._outcome(cells, None), **done.row(), "version": cells[0].offer.version}

    @operation
    async def agent_restart(self, service: str, rolling: bool = False) -> dict[str, Any]:
        """Stop an agent and start it anew with a fresh budget, its instances one after another.

        `rolling` sets each new one up beside the old.
        """
        cells = self._cells(service)
        for cell in cells:
            if rolling and cell.state.serving:
                renewed = await cell.renew(cell.spec)
                cell.life.note(f"restarted: the new one was set up {renewed.how} the old")
                continue
            await cell.stop("restarted by an operator")
            if cell is not cells[-1]:
                cell.launch(by_operator=True)
                await cell.settled.wait()
        if all(cell.state.serving for cell in cells):
            return self._outcome(cells, None)
        return self._outcome(cells, await self._ruled.wishes.start(service))

    @operation(idempotent=True)
    async def agent_isolate(self, service: str, isolation: str) -> dict[str, Any]:
        """Have an agent run as a coroutine, in a thread or in a process, or where its config says (`config`).

        Answers when all its instances do; calls that arrive meanwhile wait for it.
        """
        cells = self._cells(service)
        if split_instance(service)[1] is not None:
            raise InvalidArgument(f"all instances of a service are isolated alike; name it as {cells[0].service}",
                                  path="service")
        wanted = None if isolation == CONFIG else _rung(isolation)
        warning = await self._ruled.wishes.isolate(service, wanted, "by an operator")
        return {**self._outcome(cells, warning), "isolation": cells[0].isolation, "pid": cells[0].pid}

    @operation(idempotent=True)
    async def agent_scale(self, service: str, instances: int, host: str | None = None) -> dict[str, Any]:
        """Have so many instances of an agent run on each of its hosts, or on one of them, from now on.

        Answers when the new ones are up and those that go have ended; of these no call is lost.
        """
        if split_instance(service)[1] is not None:
            raise InvalidArgument(f"{service} is one instance; name the service", path="service")
        if not 1 <= instances <= MOST:
            hint = f"`mesh agent stop {service}` stops it" if instances == 0 else f"from 1 to {MOST} are possible"
            raise InvalidArgument(f"{service} cannot have {instances} instances; {hint}", path="instances")
        return await self._ruled.live_config.scale(self._cells(service)[0], instances, host)

    @operation
    async def shutdown(self) -> None:
        """Drain and stop this host; answers when that has begun."""
        self._ruled.shut_down()

    def _outcome(self, cells: Sequence[Cell], warning: str | None) -> dict[str, Any]:
        """Return how the instances are; `state` and `reason` are those of the one that is furthest from serving."""
        worst = min(cells, key=lambda cell: cell.state.serving)
        return {"service": worst.service, "host": self._ruled.name, "state": worst.state.value,
                "reason": worst.lifecycle.reason, "warning": warning,
                "instances": [{"instance": cell.number, "state": cell.state.value, "reason": cell.lifecycle.reason,
                               "pid": cell.pid} for cell in cells]}


def _rung(text: str) -> Isolation:
    for known in RUNGS:
        if known == text:
            return known
    like = nearest(text, [*RUNGS, CONFIG])
    raise InvalidArgument(f"isolation is {text!r}{f', did you mean {like}?' if like else ''}; there are "
                          f"{', '.join(RUNGS)}, and {CONFIG} for what its file says", path="isolation")
