"""A wish is followed whether or not the registry can remember it, and whoever wished hears which."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from mesh.client import Client
from mesh.errors import Unavailable
from mesh.message import Reply, Request, decode
from mesh.supervisor.adjusting.liveconfig import LiveConfig
from mesh.supervisor.cells import Cells
from mesh.supervisor.wishes import Wishes
from mesh.testing import InMemoryMesh
from tests.supervisor.plain import Plain


class Registry:
    """Takes wishes while it is there."""

    def __init__(self) -> None:
        self.away = False
        self.desired: list[Any] = []

    async def handle(self, request: Request) -> Reply:
        if self.away:
            return Reply(error=Unavailable("the registry is away"))
        self.desired.append(decode(request.body))
        return Reply(b"\xc0")


def test_a_stop_and_a_start_are_remembered_and_a_registry_that_is_away_is_a_warning() -> None:
    async def scenario() -> None:
        registry = Registry()
        async with InMemoryMesh() as mesh:
            cell = await mesh.add("plain", Plain)
            nothing = cast(Any, None)
            cells = cast(Cells, SimpleNamespace(roster=mesh._host("mainpc").roster, desired=lambda name: "running"))
            wishes = Wishes("mainpc", cells, cast(LiveConfig, nothing),
                            Client("supervisor@mainpc", registry.handle, mesh.clock))
            assert await wishes.stop("plain") is None and cell.state == "stopped"
            assert await wishes.start("plain") is None and cell.state == "ready"
            assert [wish["desired"] for wish in registry.desired] == ["stopped", "running"]
            registry.away = True
            warning = await wishes.stop("plain")
            assert cell.state == "stopped"
            assert warning is not None and "not remembered over a restart of mainpc" in warning

    asyncio.run(scenario())
