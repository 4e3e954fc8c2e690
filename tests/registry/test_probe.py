"""Probes: what proves that nobody lives at an address, and how often one asks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mesh.records import HostRecord
from mesh.testing.clock import FakeClock
from registry import probe
from registry.probe import AGAIN, Probes, refuses
from tests.eventually import eventually
from tests.registry.rows import host


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        yield server


def at(server: socket.socket) -> HostRecord:
    return replace(host(), port=server.getsockname()[1])


def test_only_a_refusal_proves_anything(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT", 0.05)
    port = listening.getsockname()[1]
    for _ in range(3):  # it answers, until its queue is full and nothing comes back any more
        assert asyncio.run(refuses("127.0.0.1", port)) is False
    listening.close()
    assert asyncio.run(refuses("127.0.0.1", port)) is True


def test_a_lost_host_is_tried_at_once_and_then_now_and_again(listening: socket.socket) -> None:
    async def work() -> None:
        refused: list[tuple[str, int]] = []
        clock = FakeClock()
        probes = Probes(lambda *who: refused.append(who), clock)
        record = at(listening)
        probes.probe([record])
        await eventually(lambda: not probes.under_way)
        listening.close()
        probes.probe([record])  # too early
        assert not probes.under_way and refused == []
        await clock.advance(AGAIN)
        probes.probe([record])
        await eventually(lambda: refused == [("pc2", 1)])
        await probes.close()

    asyncio.run(work())


def test_a_host_lost_a_second_time_is_tried_at_once_again(listening: socket.socket) -> None:
    async def work() -> None:
        refused: list[tuple[str, int]] = []
        probes = Probes(lambda *who: refused.append(who), FakeClock())
        record = at(listening)
        probes.probe([record])
        await eventually(lambda: not probes.under_way)
        probes.probe([])  # its link is back
        listening.close()
        probes.probe([record])
        await eventually(lambda: refused == [("pc2", 1)])

    asyncio.run(work())
