"""The agent that most tests of a host start, and how they wait for its cell."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from mesh import Agent, operation
from mesh.agent import AgentConfig
from mesh.restart import DELAYS, JITTER
from mesh.supervisor.cell.cell import Cell
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.eventually import eventually

SOON = DELAYS[0] * (1 + JITTER)
"""Seconds after which the first restart has begun, whatever the chance in its delay."""

A = TypeVar("A", bound=Agent)


def fresh(cls: type[A], **fields: Any) -> type[A]:
    """Return a class like `cls` with class attributes of its own, so that no test sees another's."""
    return cast("type[A]", type(cls.__name__, (cls,), {"__doc__": cls.__doc__, "__module__": cls.__module__, **fields}))


async def becomes(cell: Cell, *states: str) -> None:
    """Wait until a cell is in one of some states; its file is loaded in a thread, which takes real time."""
    await eventually(lambda: cell.state in states)


async def asleep(clock: FakeClock, seconds: float) -> None:
    """Wait until somebody has gone to sleep for so long by a test's clock."""
    await eventually(lambda: any(
        timer.callback is not None and moment == clock.monotonic() + seconds for moment, _, timer in clock._timers
    ))


async def torn_down(cell: Cell) -> None:
    """Wait until a crashed cell has let go of its agent; in a thread of its own that takes real time."""
    await eventually(lambda: cell.tenure.tenancy is None and not cell.tenure.endings)
    await settle()


class Plain(Agent):
    """Answers.

    More than the first line is no purpose.
    """

    @operation(idempotent=True)
    async def echo(self, text: str) -> str:
        return text

    @operation
    async def leave(self) -> None:
        raise SystemExit(3)


class Failing(Plain):
    """Fails at its start for as long as it is told to."""

    class Config(AgentConfig):
        times: int = 1000

    failed = 0

    async def setup(self) -> None:
        if type(self).failed < self.config.times:
            type(self).failed += 1
            raise ValueError("no licence file")
