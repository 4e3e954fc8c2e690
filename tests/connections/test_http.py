"""HTTP against a real server that does whatever servers do: limits hold, errors say what happened."""

from __future__ import annotations

import asyncio
import builtins
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.config import ConnectionsConfig, HttpConfig
from mesh.connections import Connections, HttpClient
from mesh.errors import (
    DeadlineExceeded,
    EngineMissing,
    InvalidArgument,
    MeshError,
    Overloaded,
    PermissionDenied,
    RemoteFailure,
    Unreachable,
)
from tests.connections.http_server import HttpServer, http_server
from tests.eventually import eventually
from tests.project import free_ports

HERE = ["127.0.0.0/8"]
Work = Callable[[HttpClient, HttpServer], Awaitable[None]]


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as made:
        yield made


@asynccontextmanager
async def connected(remaining: float | None = None, **config: Any) -> AsyncIterator[tuple[HttpClient, Connections]]:
    settings = {"private": HERE, "timeout_s": 20.0, **config}
    made = Connections(ConnectionsConfig(http=HttpConfig.model_validate(settings)), Clock())
    made.start()
    try:
        yield made.of("one", remaining=lambda: remaining).http, made
    finally:
        await made.close()


def with_client(server: HttpServer, work: Work, remaining: float | None = None, **config: Any) -> None:
    async def scenario() -> None:
        async with connected(remaining, **config) as (client, _):
            await work(client, server)

    asyncio.run(scenario())


async def refused(work: Awaitable[Any]) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value


def test_methods_bodies_and_answers_travel(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        told = (await http.get(f"{server.url}/echo", params={"word": "ü"})).json()
        assert told == {"method": "GET", "query": {"word": "ü"}, "body": ""}
        for method in (http.post, http.put, http.patch):
            assert (await method(f"{server.url}/echo", json={"a": 1})).json()["body"] in ('{"a":1}', '{"a": 1}')
        assert (await http.head(f"{server.url}/echo")).body == b""
        assert (await http.delete(f"{server.url}/echo")).status == 200
        packed = await http.get(f"{server.url}/packed")
        assert packed.text == "grüß"
        with pytest.raises(RemoteFailure, match="no JSON"):
            packed.json()

    with_client(server, work)


def test_cookies_of_one_agent_are_nobody_elses(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        await http.get(f"{server.url}/echo")
        await http.get(f"{server.url}/echo")
        assert all("cookie" not in headers for headers in server.headers)

    with_client(server, work)


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_a_slow_server_costs_no_more_than_the_limit_or_what_the_call_has_left(server: HttpServer, path: str) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        error = await refused(http.get(f"{server.url}{path}?key=s3cret", timeout=0.3))
        assert isinstance(error, DeadlineExceeded) and error.details["began"] == "unknown"
        assert "within 0.3 s" in error.message and "s3cret" not in error.message
        assert server.seen[f"GET {path}"] == 1

    with_client(server, work)


def test_what_is_left_of_the_call_bounds_the_request(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        assert "within 0.2 s" in (await refused(http.get(f"{server.url}/slow"))).message

    with_client(server, work, remaining=0.2)

    async def late(http: HttpClient, server: HttpServer) -> None:
        assert (await refused(http.get(f"{server.url}/echo"))).details["began"] == "no"
        assert server.seen["GET /echo"] == 0

    with_client(server, late, remaining=0.0)


@pytest.mark.parametrize("path", ["/huge", "/bomb"])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(server: HttpServer, path: str) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        error = await refused(http.get(f"{server.url}{path}"))
        assert isinstance(error, RemoteFailure) and error.details["type"] == "AnswerTooLarge"
        assert "more than 0.5 MiB" in error.message
        assert (await http.get(f"{server.url}/echo")).status == 200

    with_client(server, work, max_response_mb=0.5)


def test_a_coding_nobody_asked_for_is_no_answer(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        assert (await refused(http.get(f"{server.url}/brotli"))).details["type"] == "UnusableAnswer"

    with_client(server, work)


@pytest.mark.parametrize("path", ["/reset", "/half", "/garbage"])
def test_a_broken_answer_is_unreachable_and_only_what_may_be_repeated_is(server: HttpServer, path: str) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        for method, tries in ((http.get, 3), (http.post, 1), (http.patch, 1), (http.delete, 3)):
            error = await refused(method(f"{server.url}{path}"))
            assert isinstance(error, Unreachable) and error.details["began"] == "unknown"
            assert server.seen[f"{method.__name__.upper()} {path}"] == tries

    with_client(server, work)


def test_a_server_that_is_not_there_was_never_reached(server: HttpServer) -> None:
    port = free_ports(1)[0]

    async def work(http: HttpClient, _: HttpServer) -> None:
        error = await refused(http.post(f"http://127.0.0.1:{port}/x"))
        assert isinstance(error, Unreachable) and error.details["began"] == "no"
        unknown = await refused(http.get("http://no-such-name.invalid/"))
        assert isinstance(unknown, Unreachable) and "no-such-name.invalid" in unknown.message

    with_client(server, work, attempts=1)


@pytest.mark.parametrize(
    ("code", "kind", "tries"),
    [(400, RemoteFailure, 1), (404, RemoteFailure, 1), (500, RemoteFailure, 1), (502, Unreachable, 3),
     (503, Overloaded, 3), (429, Overloaded, 3), (504, Unreachable, 3)],
)
def test_a_status_is_an_error_with_a_type(server: HttpServer, code: int, kind: type[MeshError], tries: int) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        error = await refused(http.get(f"{server.url}/status", params={"code": code}))
        assert type(error) is kind and f"HTTP {code}: as asked" in error.message
        assert server.seen["GET /status"] == tries
        if kind is RemoteFailure:
            assert error.details["type"] == f"HTTP {code}"
        assert (await http.get(f"{server.url}/status", params={"code": code}, accept={code})).status == code

    with_client(server, work)


def test_a_server_that_recovers_is_asked_again_in_time(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        assert (await http.get(f"{server.url}/flaky", params={"good": 3})).text == "attempt 3"

    with_client(server, work)


def test_a_wait_longer_than_the_time_there_is_is_not_waited_for(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        error = await refused(http.get(f"{server.url}/status", params={"code": 503, "after": 3600}))
        assert isinstance(error, Overloaded) and error.details["retry_after"] == 3600.0
        assert server.seen["GET /status"] == 1

    with_client(server, work)


def test_redirects_are_followed_so_far_and_no_further(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        answer = await http.get(f"{server.url}/redirect", params={"to": "/echo?word=there"})
        assert answer.url == f"{server.url}/echo" and answer.json()["query"] == {"word": "there"}
        posted = await http.post(f"{server.url}/redirect", params={"to": "/echo", "status": 303}, content=b"x")
        assert posted.json()["method"] == "GET"
        error = await refused(http.get(f"{server.url}/loop"))
        assert isinstance(error, RemoteFailure) and error.details["type"] == "TooManyRedirects"
        assert server.seen["GET /loop"] == 3

    with_client(server, work, redirects=2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"])
def test_a_url_never_reaches_this_machine_or_its_network(server: HttpServer, host: str) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        error = await refused(http.get(f"http://{host}:{server.port}/echo"))
        assert isinstance(error, PermissionDenied) and error.details["rule"] == "http_private"
        assert "connections: http:" in error.message
        assert sum(server.seen.values()) == 0

    with_client(server, work, private=[])


def test_neither_does_a_redirect(server: HttpServer) -> None:
    """The first hop is a named target on loopback; where it leads to is on loopback too, on another port."""
    async def work() -> None:
        with http_server() as inside:
            targets = {"page": {"url": server.url}}
            async with connected(private=[], targets=targets) as (http, _):
                page = http.to("page")
                assert (await page.get("/echo")).status == 200
                assert (await page.get("/redirect", params={"to": f"{server.url}/echo"})).status == 200
                error = await refused(page.get("/redirect", params={"to": f"{inside.url}/echo"}))
                assert isinstance(error, PermissionDenied)
                assert sum(inside.seen.values()) == 0
                # the name opens the target for its name alone, also while its connection is open
                assert isinstance(await refused(http.get(f"{server.url}/echo")), PermissionDenied)

    asyncio.run(work())


def test_the_token_of_a_target_goes_to_it_alone_and_into_no_message(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        with http_server() as other:
            targets = {"page": {"url": server.url, "token_env": "PAGE_TOKEN"}}
            async with connected(targets=targets) as (http, _):
                missing = await refused(http.to("page").get("/echo"))
                assert isinstance(missing, EngineMissing) and "PAGE_TOKEN is not set" in missing.message
                monkeypatch.setenv("PAGE_TOKEN", "s3cret")
                await http.to("page").get("/redirect", params={"to": f"{other.url}/echo"})
                assert server.headers[-1]["authorization"] == "Bearer s3cret"
                assert "authorization" not in other.headers[-1]
                assert "s3cret" not in (await refused(http.to("page").get("/status", params={"code": 500}))).message

    asyncio.run(work())


def test_a_target_nobody_named_is_told_with_those_that_are(server: HttpServer) -> None:
    async def work() -> None:
        async with connected(targets={"page": {"url": server.url}}) as (http, _):
            with pytest.raises(EngineMissing, match="names no HTTP target pagee; it names page"):
                http.to("pagee")

    asyncio.run(work())


def test_a_target_that_is_unwell_limits_its_users_until_it_is_well(server: HttpServer) -> None:
    async def work() -> None:
        targets = {"page": {"url": server.url, "check": "/health"}}
        async with connected(targets=targets) as (http, connections):
            http.to("page")
            target = connections.http.targets["page"]
            await eventually(lambda: target.health.state == "ok", 20)
            server.go.set()
            assert target.lookout is not None
            await target.lookout.look()
            limits = connections.of("one").limits()
            assert limits and "/health answered GET with HTTP 500" in limits[0]
            assert connections.of("two").limits() == []
            server.go.clear()
            await eventually(lambda: target.health.state == "ok", 20)
            assert connections.of("one").limits() == []

    asyncio.run(work())


def test_requests_to_one_server_are_bounded_and_those_that_found_no_slot_never_began(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        calls = [asyncio.ensure_future(http.get(f"{server.url}/slow")) for _ in range(6)]
        await eventually(lambda: server.running == 2, 20)
        error = await refused(http.get(f"{server.url}/echo", timeout=0.2))
        assert isinstance(error, Overloaded) and "per_target" in error.message
        assert server.seen["GET /echo"] == 0
        with http_server() as other:
            assert (await http.get(f"{other.url}/echo")).status == 200
        server.go.set()
        assert [answer.text for answer in await asyncio.gather(*calls)] == ["late"] * 6
        assert server.most == 2

    with_client(server, work, per_target=2)


def test_an_agents_own_limits_are_never_wider_than_configs(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        wide = http.within(timeout_s=99.0, max_response_mb=99.0, attempts=99, redirects=99)
        assert wide._limits == http._limits
        narrow = http.within(timeout_s=0.2, attempts=1, per_target=1)
        assert "within 0.2 s" in (await refused(narrow.get(f"{server.url}/slow"))).message
        await refused(narrow.get(f"{server.url}/reset"))
        assert server.seen["GET /reset"] == 1

    with_client(server, work)


@pytest.mark.parametrize("url", ["ftp://a/b", "no url", "http://", "http:///path", "file:///etc/passwd"])
def test_what_is_no_http_address_is_refused(server: HttpServer, url: str) -> None:
    async def work(http: HttpClient, _: HttpServer) -> None:
        assert isinstance(await refused(http.get(url)), InvalidArgument)

    with_client(server, work)


def test_a_request_that_is_given_up_frees_its_slot(server: HttpServer) -> None:
    async def work(http: HttpClient, server: HttpServer) -> None:
        call = asyncio.ensure_future(http.get(f"{server.url}/slow"))
        await eventually(lambda: server.running == 1, 20)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await http.get(f"{server.url}/echo")).status == 200

    with_client(server, work, per_target=1, pool=1)


def test_without_httpx_the_command_is_told_and_the_agent_is_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "httpx":
            raise ImportError("No module named 'httpx'")
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "httpx", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    handed = Connections(ConnectionsConfig(), Clock()).of("one")
    with pytest.raises(EngineMissing) as caught:
        _ = handed.http
    assert caught.value.details["command"] == "pip install 'mesh[http]'"
    assert handed.limits() == [caught.value.message]
