"""The chat client asks a real server once, and names what went wrong in the words of the mesh, never with the key."""

from __future__ import annotations

import asyncio
import builtins
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.agent import ChatClient, Completion, EngineConfig, Usage
from mesh.errors import (
    DeadlineExceeded,
    EngineMissing,
    InvalidArgument,
    MeshError,
    RateLimited,
    RemoteFailure,
    Unavailable,
    Unreachable,
)
from tests.openai_server import Fault, OpenAIServer

ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
KEY = "sk-very-secret"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def ask(base_url: str, *, timeout_s: float = 10.0, key: bool = False, left: float | None = None,
        **options: Any) -> Completion:
    """Return what the server at `base_url` answers."""
    engine = EngineConfig(base_url=base_url, model="small", timeout_s=timeout_s, api_key_env="KEY" if key else None)

    async def scenario() -> Completion:
        client = ChatClient(engine, remaining=lambda: left, environ={"KEY": KEY})
        try:
            return await client.complete(ASKED, **options)
        finally:
            await client.close()

    return asyncio.run(scenario())


def failure(base_url: str, **options: Any) -> MeshError:
    """Return the error of asking; it names the server and not the key."""
    with pytest.raises(MeshError) as caught:
        ask(base_url, **options)
    assert base_url in caught.value.message
    assert KEY not in f"{caught.value.message}{caught.value.details}"
    return caught.value


def test_an_answer_has_text_model_and_usage(server: OpenAIServer) -> None:
    assert ask(server.base_url) == Completion("you said: hello", "small", Usage(7, 3))


def test_the_request_is_what_the_protocol_wants(server: OpenAIServer) -> None:
    server.models = ("small", "large")
    ask(server.base_url, key=True, model="large", temperature=0.5, max_tokens=20)
    asked = server.asked[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {"model": "large", "messages": ASKED, "temperature": 0.5, "max_tokens": 20}
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(server: OpenAIServer) -> None:
    ask(server.base_url)
    assert "authorization" not in server.asked[0].headers
    assert server.asked[0].body == {"model": "small", "messages": ASKED}


def test_connections_are_kept_and_bounded(server: OpenAIServer) -> None:
    engine = EngineConfig(base_url=server.base_url, model="small", max_connections=2)

    async def scenario() -> None:
        client = ChatClient(engine)
        await asyncio.gather(*(client.complete(ASKED) for _ in range(20)))
        await client.complete(ASKED)
        await client.close()

    asyncio.run(scenario())
    assert len(server.asked) == 21
    assert server.connections <= 2


def test_a_closed_client_opens_again(server: OpenAIServer) -> None:
    async def scenario() -> str:
        client = ChatClient(EngineConfig(base_url=server.base_url, model="small"))
        await client.complete(ASKED)
        await client.close()
        completion = await client.complete(ASKED)
        await client.close()
        await client.close()
        return completion.text

    assert asyncio.run(scenario()) == "you said: hello"


def test_no_server_is_unreachable_and_never_began() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = failure(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, Unreachable)
    assert error.details == {"began": "no"}
    assert "is the server running" in error.message


@pytest.mark.parametrize("fault", ["hang up", "cut"])
def test_a_server_that_breaks_off_is_unreachable_with_unknown_outcome(server: OpenAIServer, fault: Fault) -> None:
    server.fault = fault
    error = failure(server.base_url)
    assert isinstance(error, Unreachable)
    assert error.details == {"began": "unknown"}


@pytest.mark.parametrize("options", [
    {"timeout_s": 0.1},
    {"timeout": 0.1},
    {"left": 0.1},
])
def test_a_slow_answer_ends_at_the_smallest_limit(server: OpenAIServer, options: dict[str, Any]) -> None:
    server.fault = "slow"
    error = failure(server.base_url, **options)
    assert isinstance(error, DeadlineExceeded)
    assert "did not answer within 0.1 s" in error.message
    assert error.details == {"began": "unknown"}


def test_without_time_left_nobody_is_asked(server: OpenAIServer) -> None:
    error = failure(server.base_url, left=-1.0)
    assert isinstance(error, DeadlineExceeded)
    assert error.details == {"began": "no"}
    assert server.asked == []


def test_a_caller_that_gives_up_closes_the_request(server: OpenAIServer) -> None:
    server.fault = "slow"

    async def scenario() -> None:
        client = ChatClient(EngineConfig(base_url=server.base_url, model="small"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.complete(ASKED)
        server.released.set()
        server.fault = None
        assert (await client.complete(ASKED)).text == "you said: hello"
        await client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_for_the_operator(server: OpenAIServer, status: int) -> None:
    server.status, server.said = status, f"bad key {KEY}"
    error = failure(server.base_url, key=True)
    assert isinstance(error, EngineMissing)
    assert "check the key in KEY" in error.message
    assert "bad key ***" in error.message
    assert error.details == {"command": "export KEY=…"}


def test_a_server_that_wants_a_key_says_where_to_name_it(server: OpenAIServer) -> None:
    server.key = "another"
    error = failure(server.base_url)
    assert isinstance(error, EngineMissing)
    assert "name the variable with the key in api_key_env" in error.message


def test_a_key_that_is_not_set_is_told_before_asking(server: OpenAIServer) -> None:
    engine = EngineConfig(base_url=server.base_url, model="small", api_key_env="KEY")
    with pytest.raises(EngineMissing, match="KEY is not set"):
        asyncio.run(ChatClient(engine, environ={}).complete(ASKED))
    assert server.asked == []


def test_an_unknown_model_is_told_with_where_to_look(server: OpenAIServer) -> None:
    error = failure(server.base_url, model="huge")
    assert isinstance(error, EngineMissing)
    assert "has no model 'huge'" in error.message
    assert f"{server.base_url}/models" in error.message


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), (None, None)])
def test_too_many_requests_carry_when_to_come_back(
    server: OpenAIServer, header: str | None, seconds: float | None
) -> None:
    server.status, server.retry_after = 429, header
    error = failure(server.base_url)
    assert isinstance(error, RateLimited)
    assert error.details == {"retry_after": seconds}


@pytest.mark.parametrize("status", [502, 503])
def test_a_server_that_is_down_for_now_is_unavailable(server: OpenAIServer, status: int) -> None:
    server.status, server.retry_after = status, "2"
    error = failure(server.base_url)
    assert isinstance(error, Unavailable)
    assert error.details == {"retry_after": 2.0}


@pytest.mark.parametrize("status", [400, 500, 504])
def test_a_server_that_fails_is_a_remote_failure_with_what_it_said(server: OpenAIServer, status: int) -> None:
    server.status, server.said = status, "context too long"
    error = failure(server.base_url)
    assert isinstance(error, RemoteFailure)
    assert error.details == {"type": f"HTTP {status}"}
    assert "context too long" in error.message


@pytest.mark.parametrize(("fault", "told"), [
    ("malformed", "is not JSON"),
    ("not a map", "has no choices"),
    ("no choices", "has no choices"),
    ("no text", "has no text in its first choice"),
])
def test_an_answer_that_cannot_be_used_is_a_remote_failure(server: OpenAIServer, fault: Fault, told: str) -> None:
    server.fault = fault
    error = failure(server.base_url)
    assert isinstance(error, RemoteFailure)
    assert error.details == {"type": "UnusableAnswer"}
    assert told in error.message


def test_an_endless_answer_is_cut_off(server: OpenAIServer) -> None:
    server.fault = "endless"
    error = failure(server.base_url)
    assert isinstance(error, RemoteFailure)
    assert error.details == {"type": "AnswerTooLarge"}


def test_nothing_to_answer_is_refused(server: OpenAIServer) -> None:
    client = ChatClient(EngineConfig(base_url=server.base_url, model="small"))
    with pytest.raises(InvalidArgument, match="there are no messages"):
        asyncio.run(client.complete([]))


def test_without_httpx_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "httpx":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "httpx", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    error = failure("http://127.0.0.1:9/v1")
    assert isinstance(error, EngineMissing)
    assert error.details == {"command": "pip install 'mesh[http]'"}
