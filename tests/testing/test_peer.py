"""A fake in the place of a service: answers as it is told, fails as it is told, remembers what it was asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh import (
    Agent,
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    RemoteFailure,
    Unavailable,
    UnknownOperation,
    operation,
)
from mesh.errors import StoreError
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle


@in_mesh
async def test_a_value_is_answered_as_it_is(mesh: InMemoryMesh) -> None:
    mesh.fake("lamp", colour="red", state={"on": True, "levels": [1, 2]}, nothing=None)
    assert await mesh.request("lamp.colour") == "red"
    assert await mesh.request("lamp.state") == {"on": True, "levels": [1, 2]}
    assert await mesh.request("lamp.nothing") is None


@in_mesh
async def test_an_error_is_raised_at_the_caller_as_often_as_it_is_asked(mesh: InMemoryMesh) -> None:
    mesh.fake("lamp", light=Unavailable("the fuse is out", retry_after=3.0), read=KeyError("bulb"),
              store=StoreError("the disk is full"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="the fuse is out") as unavailable:
            await mesh.request("lamp.light")
        assert unavailable.value.details == {"retry_after": 3.0}
    with pytest.raises(RemoteFailure, match="raised KeyError: 'bulb'") as failure:
        await mesh.request("lamp.read")
    assert failure.value.details["type"] == "KeyError"
    with pytest.raises(RemoteFailure, match=r"lamp\.store raised StoreError: the disk is full"):
        await mesh.request("lamp.store")


@in_mesh
async def test_a_function_is_called_with_the_arguments(mesh: InMemoryMesh) -> None:
    async def later(text: str, times: int = 1) -> str:
        await asyncio.sleep(0)
        return text * times

    def refuse(**arguments: Any) -> None:
        raise InvalidArgument(f"not with {sorted(arguments)}", path="level")

    mesh.fake("lamp", twice=lambda text: text * 2, later=later, refuse=refuse)
    assert await mesh.request("lamp.twice", text="a") == "aa"
    assert await mesh.request("lamp.later", text="a", times=3) == "aaa"
    with pytest.raises(InvalidArgument, match=r"not with \['level'\]"):
        await mesh.request("lamp.refuse", level=3)
    with pytest.raises(RemoteFailure, match="TypeError"):
        await mesh.request("lamp.twice", txt="a")


@in_mesh
async def test_every_call_is_remembered_with_its_arguments(mesh: InMemoryMesh) -> None:
    lamp = mesh.fake("lamp", light=None, dim=Unavailable("no"))
    await mesh.request("lamp.light", level=1)
    with pytest.raises(Unavailable):
        await mesh.request("lamp.dim", level=2)
    with pytest.raises(UnknownOperation):
        await mesh.request("lamp.blink")
    await mesh.request("lamp.light", level=3)
    assert lamp.calls == [("light", {"level": 1}), ("dim", {"level": 2}), ("blink", {}), ("light", {"level": 3})]
    assert lamp.calls_of("light") == [{"level": 1}, {"level": 3}] and lamp.calls_of("never") == []


@in_mesh
async def test_what_it_answers_may_change_on_the_way(mesh: InMemoryMesh) -> None:
    lamp = mesh.fake("lamp", light="on")
    lamp.operations["light"] = "off"
    assert await mesh.request("lamp.light") == "off"


@in_mesh
async def test_an_operation_it_has_not_is_refused(mesh: InMemoryMesh) -> None:
    mesh.fake("lamp", light="on")
    with pytest.raises(UnknownOperation, match="the fake lamp has no operation lihgt"):
        await mesh.request("lamp.lihgt")


@in_mesh
async def test_a_deadline_cancels_it(mesh: InMemoryMesh) -> None:
    journal: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            journal.append("cancelled")

    mesh.fake("lamp", hang=hang, cancelled=Cancelled("the user interrupted"))
    call = asyncio.create_task(mesh.request("lamp.hang", timeout=1.0))
    await mesh.clock.advance(1.1)
    with pytest.raises(DeadlineExceeded):
        await call
    await settle()
    assert journal == ["cancelled"]
    with pytest.raises(Cancelled, match="the user interrupted"):
        await mesh.request("lamp.cancelled")


@in_mesh
async def test_a_fake_takes_the_place_of_an_agent_also_on_another_host(mesh: InMemoryMesh) -> None:
    class Lamp(Agent):
        """Gives light."""

        @operation
        async def light(self) -> str:
            return "real"

    await mesh.add("lamp", Lamp)
    assert await mesh.request("lamp.light") == "real"
    mesh.fake("lamp", light="fake")
    assert await mesh.request("lamp.light") == "fake"
    mesh.fake("torch", host="pc2", light="far")
    assert await mesh.request("torch.light") == "far"
    assert await mesh.request("torch.light", to_host="pc2") == "far"
    with pytest.raises(Unavailable):
        await mesh.request("torch.light", to_host="mainpc")
