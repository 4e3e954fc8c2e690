"""An agent that speaks HTTP: within its own limits and its call's deadline, with errors its callers understand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh import DeadlineExceeded, IntegrationAgent, Overloaded, PermissionDenied, RemoteFailure, operation
from mesh.config import ConnectionsConfig
from mesh.testing import InMemoryMesh
from tests.connections.http_server import HttpServer, http_server
from tests.eventually import eventually
from tests.realtime import RealTime


class Weather(IntegrationAgent):
    """Asks a server for the weather."""

    class Config(IntegrationAgent.Config):
        days: int = 1

    config: Config

    @operation(idempotent=True)
    async def forecast(self, path: str = "/echo") -> int:
        answer = await self.http.to("weather").get(path, params={"days": self.config.days})
        return answer.status

    @operation(idempotent=True)
    async def fetch(self, url: str) -> str:
        return (await self.http.get(url)).text


def in_mesh_with(server: HttpServer, work: Any, isolation: str = "coroutine", **settings: Any) -> None:
    async def scenario() -> None:
        config = ConnectionsConfig.model_validate({"http": {"targets": {"weather": {"url": server.url}}}})
        async with InMemoryMesh(clock=RealTime(), connections=config) as mesh:  # type: ignore[arg-type]
            await mesh.add("weather", Weather, settings=settings, isolation=isolation)
            await work(mesh)

    asyncio.run(scenario())


@pytest.mark.parametrize("isolation", ["coroutine", "thread"])
def test_a_target_is_asked_by_its_name(isolation: str) -> None:
    async def work(mesh: InMemoryMesh) -> None:
        assert await mesh.request("weather.forecast") == 200
        [figures] = [one for one in mesh._host("mainpc").connections.figures() if one.name == "http_weather"]
        assert figures.users == ("weather",) and figures.calls == 1

    with http_server() as server:
        in_mesh_with(server, work, isolation)
        assert server.seen["GET /echo"] == 1


def test_what_the_server_does_reaches_the_caller_as_an_error_with_a_code() -> None:
    async def work(mesh: InMemoryMesh) -> None:
        with pytest.raises(RemoteFailure, match="HTTP 404"):
            await mesh.request("weather.forecast", path="/nothing")
        with pytest.raises(Overloaded):
            await mesh.request("weather.forecast", path="/busy")
        with pytest.raises(PermissionDenied, match="loopback"):
            await mesh.request("weather.fetch", url="http://127.0.0.1:1/")
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            await mesh.request("weather.forecast", path="/slow")

    with http_server() as server:
        in_mesh_with(server, work, http={"timeout_s": 0.2, "attempts": 1})


def test_the_agents_own_number_of_requests_to_one_server_holds() -> None:
    async def work(mesh: InMemoryMesh) -> None:
        calls = [asyncio.ensure_future(mesh.request("weather.forecast", path="/slow")) for _ in range(5)]
        await eventually(lambda: server.running == 1, 20)
        server.go.set()
        assert await asyncio.gather(*calls) == [200] * 5
        assert server.most == 1

    with http_server() as server:
        in_mesh_with(server, work, http={"per_target": 1})


def test_a_target_that_fails_degrades_its_agent_until_it_answers() -> None:
    async def work(mesh: InMemoryMesh) -> None:
        cell = mesh.cell("weather")
        with pytest.raises(Exception, match="broke off"):
            await mesh.request("weather.forecast", path="/reset")
        await eventually(lambda: cell.state.value == "degraded", 20)
        assert "/reset broke off GET" in cell.lifecycle.reason
        await mesh.request("weather.forecast")
        await eventually(lambda: cell.state.value == "ready", 20)

    with http_server() as server:
        in_mesh_with(server, work)
