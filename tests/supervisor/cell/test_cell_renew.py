"""A cell whose agent or settings are exchanged while it serves: no call is lost, and who fails changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh import Agent, AgentConfig, operation, subscribe
from mesh.errors import ConfigError, LoadError, Unavailable, Unreachable
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.loader import Edition
from mesh.supervisor.cell.tenure import MAX_UNHEARD
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually


class Greeter(Agent):
    """Greets, when it is let."""

    class Config(AgentConfig):
        word: str = "hello"
        fails: bool = False

    config: Config
    gate: asyncio.Event
    heard: list[Any]
    closed: list[str]

    async def setup(self) -> None:
        if self.config.fails:
            raise ValueError("no licence file")
        await type(self).gate.wait()

    @operation
    async def greet(self) -> str:
        return self.config.word

    @operation
    async def hold(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return self.config.word

    @subscribe("door.bell")
    async def rung(self, who: str) -> None:
        type(self).heard.append((self.config.word, who))

    async def teardown(self) -> None:
        type(self).closed.append(self.config.word)


class Live(Greeter):
    """Takes settings over while it runs."""

    async def on_config(self, new: Greeter.Config, old: Greeter.Config) -> None:
        if new.word == "silence":
            raise ValueError("not without a word")
        await type(self).gate.wait()


def fresh(cls: type[Greeter]) -> type[Greeter]:
    """Return a class of this test alone, whose gate is open."""
    gate = asyncio.Event()
    gate.set()
    return type(cls.__name__, (cls,), {"__doc__": cls.__doc__, "__module__": cls.__module__, "gate": gate,
                                       "heard": [], "closed": []})


def changed(cell: Cell, **settings: Any) -> Any:
    return cell.spec.model_copy(update={"settings": {**cell.spec.settings, **settings}})


@in_mesh
async def test_calls_that_come_meanwhile_wait_and_those_that_run_end_first(mesh: InMemoryMesh) -> None:
    greeter = fresh(Greeter)
    cell = await mesh.add("greeter", greeter)
    incarnation = cell.incarnation
    held = asyncio.create_task(mesh.request("greeter.hold", seconds=2.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(changed(cell, word="servus")))
    await eventually(lambda: cell.tenure.moving)
    waiting = [asyncio.create_task(mesh.request("greeter.greet")) for _ in range(100)]
    await settle()
    assert cell.state == "ready" and not any(call.done() for call in waiting)
    await mesh.clock.advance(2)
    assert await held == "hello"
    await mesh.clock.advance(0.1)
    assert await asyncio.gather(*waiting) == ["servus"] * 100
    await renewal
    assert greeter.closed == ["hello"] and cell.incarnation > incarnation and cell.restarts == 0


@in_mesh
async def test_a_call_that_does_not_end_is_told_so_when_its_time_is_over(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("greeter", fresh(Greeter), limits={"stop_s": 1.0})
    held = asyncio.create_task(mesh.request("greeter.hold", seconds=60.0, timeout=100.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(changed(cell, word="servus")))
    while not renewal.done():
        await eventually(lambda: cell.tenure.moving or renewal.done())
        await mesh.clock.advance(0.1)
    with pytest.raises(Unreachable, match="greeter is replaced by a new one; whether the call did its work is unknown"):
        await held
    assert await mesh.request("greeter.greet") == "servus"


@in_mesh
async def test_what_cannot_be_loaded_leaves_the_agent_as_it_was(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("greeter", fresh(Greeter))
    incarnation = cell.incarnation

    def load(spec: object) -> type[Agent]:
        raise LoadError("line 3 is no valid Python")

    with pytest.raises(LoadError, match="line 3"):
        await cell.renew(changed(cell, word="servus"), edition=Edition(load))
    assert (cell.incarnation, cell.state) == (incarnation, "ready")
    assert await mesh.request("greeter.greet") == "hello"


@in_mesh
async def test_one_whose_setup_fails_makes_room_for_what_was_there(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("greeter", fresh(Greeter))
    with pytest.raises(ValueError, match="no licence file"):
        await cell.renew(changed(cell, fails=True))
    assert cell.state == "ready" and cell.spec.settings == {}
    assert await mesh.request("greeter.greet") == "hello"


@in_mesh
async def test_if_what_was_there_does_not_start_either_it_is_a_crash(mesh: InMemoryMesh) -> None:
    greeter = fresh(Greeter)
    cell = await mesh.add("greeter", greeter)

    async def broken(self: Greeter) -> None:
        raise OSError("the disk is gone")

    greeter.setup = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk is gone"):
        await cell.renew(changed(cell, word="servus"))
    assert cell.state == "backoff" and mesh.reports[-1].severity == "error"
    del greeter.setup
    await mesh.clock.advance(1)
    await eventually(lambda: cell.state == "ready")
    assert await mesh.request("greeter.greet") == "hello"


@in_mesh
async def test_events_wait_as_well_and_too_many_are_counted_as_lost(mesh: InMemoryMesh) -> None:
    greeter = fresh(Greeter)
    cell = await mesh.add("greeter", greeter)
    greeter.gate.clear()
    renewal = asyncio.create_task(cell.renew(changed(cell, word="servus")))
    await eventually(lambda: cell.tenure.moving and cell.tenure.tenancy is None)
    for number in range(MAX_UNHEARD + 3):
        await mesh.publish("door.bell", str(number))
    greeter.gate.set()
    await renewal
    await eventually(lambda: len(greeter.heard) == MAX_UNHEARD)
    assert greeter.heard[0] == ("servus", "0") and greeter.heard[-1] == ("servus", str(MAX_UNHEARD - 1))
    assert cell.stats.events_lost == 3


@in_mesh
async def test_a_stop_breaks_a_renewal_off(mesh: InMemoryMesh) -> None:
    greeter = fresh(Greeter)
    cell = await mesh.add("greeter", greeter)
    greeter.gate.clear()
    renewal = asyncio.create_task(cell.renew(changed(cell, word="servus")))
    await eventually(lambda: cell.tenure.moving and cell.tenure.tenancy is None)
    await cell.stop("stopped by an operator")
    with pytest.raises(asyncio.CancelledError):
        await renewal
    assert cell.state == "stopped" and cell.at_rest
    greeter.gate.set()
    cell.launch(by_operator=True)
    await cell.settled.wait()
    assert await mesh.request("greeter.greet") == "hello"


@in_mesh
async def test_one_that_does_not_serve_is_not_renewed(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("greeter", fresh(Greeter))
    await cell.stop("stopped by an operator")
    with pytest.raises(Unavailable, match="greeter is stopped: stopped by an operator"):
        await cell.renew(cell.spec)


# -- settings taken over live


@in_mesh
async def test_the_hook_has_both_settings_and_calls_go_on_with_the_old_until_it_returns(mesh: InMemoryMesh) -> None:
    live = fresh(Live)
    cell = await mesh.add("greeter", live)
    live.gate.clear()
    change = asyncio.create_task(cell.reconfigure(changed(cell, word="servus")))
    await settle()
    assert await mesh.request("greeter.greet") == "hello"
    live.gate.set()
    assert await change and await mesh.request("greeter.greet") == "servus"
    assert live.closed == [] and cell.spec.settings == {"word": "servus"}


@in_mesh
async def test_without_the_hook_nothing_is_done(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("greeter", fresh(Greeter))
    assert not await cell.reconfigure(changed(cell, word="servus"))
    assert cell.spec.settings == {} and await mesh.request("greeter.greet") == "hello"


@in_mesh
async def test_a_refusal_and_a_hook_that_does_not_end_leave_everything_as_it_was(mesh: InMemoryMesh) -> None:
    live = fresh(Live)
    cell = await mesh.add("greeter", live, limits={"start_s": 0.05})
    with pytest.raises(ValueError, match="not without a word"):
        await cell.reconfigure(changed(cell, word="silence"))
    with pytest.raises(ConfigError, match="did you mean 'word'"):
        await cell.reconfigure(changed(cell, wrod="x"))
    live.gate.clear()
    with pytest.raises(Unavailable, match=r"on_config\(\) of greeter did not end within 0.05 s"):
        await cell.reconfigure(changed(cell, word="servus"))
    assert cell.spec.settings == {} and await mesh.request("greeter.greet") == "hello"


@in_mesh
async def test_a_test_changes_settings_as_an_operator_does(mesh: InMemoryMesh) -> None:
    for service, cls in (("live", Live), ("plain", Greeter)):
        await mesh.add(service, fresh(cls))
        await mesh.configure(service, word="moin")
        assert await mesh.request(f"{service}.greet") == "moin"
        with pytest.raises(ConfigError, match="did you mean 'word'"):
            await mesh.configure(service, wrod="x")
