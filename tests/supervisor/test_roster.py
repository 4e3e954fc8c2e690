"""Which of several instances on a host answers a call that came there, and which a name means."""

from __future__ import annotations

import asyncio

import pytest

from mesh import Agent, operation
from mesh.errors import InvalidArgument
from mesh.message import Request
from mesh.testing import InMemoryMesh
from mesh.testing.inmemory import in_mesh
from mesh.tracing import Trace


class Numbered(Agent):
    """Says which instance it is."""

    @operation(idempotent=True)
    async def number(self) -> int:
        return self.instance

    @operation
    async def nap(self, seconds: float) -> int:
        await self.clock.sleep(seconds)
        return self.instance


def asked(to_host: str | None = None, service: str = "nlu") -> Request:
    return Request(service, "number", b"", 1e9, Trace.new(), "test@pc", (), to_host)


@in_mesh
async def test_each_instance_has_its_number_its_own_life_and_figures(mesh: InMemoryMesh) -> None:
    first = await mesh.add("nlu", Numbered, instances=3)
    roster = mesh._host("mainpc").roster
    assert [cell.name for cell in roster.of("nlu")] == ["nlu", "nlu#2", "nlu#3"] and roster.of("nlu")[0] is first
    assert {await mesh.request("nlu.number", to_host=f"mainpc#{number}") for number in (1, 2, 3)} == {1, 2, 3}
    assert {await mesh.request("nlu.number") for _ in range(30)} == {1, 2, 3}
    assert len({cell.incarnation for cell in roster.of("nlu")}) == 3
    assert {cell.stats.calls > 0 for cell in roster.of("nlu")} == {True}
    series = [(sample.instrument.name, sample.labels, sample.number) for cell in roster.of("nlu")
              for sample in cell.samples()]
    assert len(series) == len(set(series)), "no figure is there twice"


@in_mesh
async def test_a_call_for_the_host_goes_to_the_instance_with_the_least_to_do(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Numbered, instances=2)
    roster = mesh._host("mainpc").roster
    busy = asyncio.ensure_future(mesh.request("nlu.nap", to_host="mainpc#1", seconds=5.0))
    await mesh.clock.advance(0.1)
    assert {cell.number for _ in range(6) if (cell := roster.answering(asked("mainpc")))} == {2}
    await mesh.clock.advance(5)
    await busy
    assert {cell.number for _ in range(6) if (cell := roster.answering(asked()))} == {1, 2}


@in_mesh
async def test_a_call_for_an_instance_that_stops_goes_to_another_one(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Numbered, instances=2)
    roster = mesh._host("mainpc").roster
    second = roster.of("nlu")[1]
    assert roster.answering(asked("mainpc#2")) is second
    await second.stop("the test")
    chosen = roster.answering(asked("mainpc#2"))
    assert chosen is not None and chosen.number == 1 and roster.answering(asked(service="nobody")) is None
    roster.remove(second)
    assert roster.answering(asked("mainpc#2")) is chosen


@in_mesh
async def test_a_name_means_all_instances_or_the_one_it_numbers(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Numbered, instances=2)
    roster = mesh._host("mainpc").roster
    assert [cell.number for cell in roster.named("nlu")] == [1, 2]
    for name, numbers in (("nlu#1", [1]), ("nlu#2", [2]), ("nlu#3", []), ("x", [])):
        assert [cell.number for cell in roster.named(name)] == numbers
    for wrong in ("nlu#", "nlu#0", "nlu#two"):
        with pytest.raises(InvalidArgument, match="names no instance"):
            roster.named(wrong)
