"""An agent that ends itself ends nothing else, and is back at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh import RemoteFailure, Unreachable, every, operation, subscribe
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.supervisor.plain import SOON, Plain, becomes, fresh


class Leaving(Plain):
    """Ends the process, or so it thinks."""

    doing: str

    async def check(self) -> str | None:
        if self.doing == "check":
            raise SystemExit(1)
        return None

    @operation
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @operation
    def leave_from_thread(self) -> None:
        raise SystemExit(1)

    @subscribe("leave.now")
    async def hear(self, payload: Any) -> None:
        raise SystemExit(1)

    @every(seconds=3)
    async def tick(self) -> None:
        if self.doing == "timer":
            raise KeyboardInterrupt


@pytest.mark.parametrize("doing", ["operation", "sync operation", "event", "timer", "check"])
def test_an_agent_that_exits_crashes_alone_and_is_back_within_a_second(doing: str) -> None:
    leaving = fresh(Leaving, doing="")

    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("leaving", leaving)
        await mesh.add("plain", Plain)
        leaving.doing = doing
        waiting = asyncio.create_task(mesh.request("leaving.wait"))
        await settle()
        if "operation" in doing:
            with pytest.raises(RemoteFailure, match="the agent's code raised SystemExit") as caught:
                await mesh.request("leaving.leave" if doing == "operation" else "leaving.leave_from_thread")
            assert caught.value.details["error_id"] == mesh.reports[-1].id
        elif doing == "event":
            await mesh.publish("leave.now")
        else:
            await mesh.clock.advance(3 if doing == "timer" else 5)
        with pytest.raises(Unreachable, match=r"leaving\.wait: the agent.s code raised .*; whether the call"):
            await waiting
        leaving.doing = ""
        crashed = mesh.clock.monotonic()
        assert cell.state == "backoff" and mesh.reports[-1].type == "AgentExit"
        assert await mesh.request("plain.echo", text="a") == "a"
        await mesh.clock.advance(SOON)
        await becomes(cell, "ready")
        assert mesh.clock.monotonic() - crashed < 1 and cell.restarts == 1
        assert await mesh.request("leaving.echo", text="a") == "a"

    scenario()


@in_mesh
async def test_an_exit_while_it_stops_is_reported_too(mesh: InMemoryMesh) -> None:
    go = asyncio.Event()

    class Late(Plain):
        """Exits when it is told to end."""

        @operation
        async def wait(self) -> None:
            await go.wait()
            raise SystemExit(1)

    cell = await mesh.add("plain", Late)
    call = asyncio.create_task(mesh.request("plain.wait"))
    await settle()
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    go.set()
    with pytest.raises(RemoteFailure) as caught:
        await call
    assert caught.value.details["error_id"] == mesh.reports[-1].id
    await mesh.clock.advance(0.1)
    await stopping
    assert cell.state == "stopped"


@in_mesh
async def test_what_follows_a_crash_owes_nothing_to_the_call_that_crashed(mesh: InMemoryMesh) -> None:
    journal: list[str] = []

    class Curious(Plain):
        """Asks another service whenever it may."""

        async def setup(self) -> None:
            journal.append(await self.request("other.ask", who="setup"))

        async def check(self) -> str | None:
            journal.append(await self.request("other.ask", who="check"))
            return None

        @every(seconds=60)
        async def tick(self) -> None:
            journal.append(await self.request("other.ask", who="timer"))

    mesh.fake("other", ask=lambda who: who)
    cell = await mesh.add("plain", Curious)
    with pytest.raises(RemoteFailure):
        await mesh.request("plain.leave", timeout=10)
    journal.clear()
    await mesh.clock.advance(SOON)
    await becomes(cell, "ready")
    await mesh.clock.advance(61)
    assert journal[:2] == ["setup", "check"] and journal[-1] in ("timer", "check") and "timer" in journal
    assert [report.type for report in mesh.reports] == ["AgentExit"] and cell.state == "ready"
