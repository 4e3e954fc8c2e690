"""The one client for servers that speak the OpenAI chat protocol.

It asks once and never again by itself, waits no longer than it is told, and turns whatever goes wrong into an error of
the mesh that names the server. The key is in no message.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mesh.address import is_loopback
from mesh.agent.engine import INSTALL, EngineConfig
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

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
MAX_ANSWER = 16 * 1024 * 1024
_QUOTED = 300


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a completion cost, as the server counts them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its text, the model that gave it, and what it cost if the server says so."""

    text: str
    model: str
    usage: Usage | None = None


class ChatClient:
    """A client of one engine with a bounded pool of connections, opened on first use."""

    def __init__(
        self,
        engine: EngineConfig,
        *,
        remaining: Callable[[], float | None] = lambda: None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.engine = engine
        self.url = f"{engine.base_url}/chat/completions"
        self._remaining = remaining
        self._environ = environ
        self._http: httpx.AsyncClient | None = None

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
    ) -> Completion:
        """Return the answer to `messages` (maps of `role` and `content`).

        It waits at most the smallest of `timeout`, the engine's `timeout_s` and what is left of the call being
        answered, in seconds. Raises `EngineMissing` (httpx, key or model), `Unreachable`, `Unavailable`,
        `RateLimited`, `DeadlineExceeded`, and `RemoteFailure` for an answer that cannot be used.
        """
        if not messages:
            raise InvalidArgument("there are no messages to answer; give at least one map of role and content",
                                  path="messages")
        told = [dict(message) for message in messages]
        asked: dict[str, Any] = {"model": model or self.engine.model, "messages": told}
        if temperature is not None:
            asked["temperature"] = temperature
        if max_tokens is not None:
            asked["max_tokens"] = max_tokens
        key = self.engine.key(self._environ)
        limit = min(each for each in (timeout, self.engine.timeout_s, self._remaining()) if each is not None)
        if limit <= 0:
            raise DeadlineExceeded(f"no time is left to ask {self.url}", began="no")
        status, headers, body = await self._post(asked, key, limit)
        if status != 200:
            raise self._refused(status, headers, body, asked["model"], key)
        return self._completion(body, asked["model"], key)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def _post(self, asked: dict[str, Any], key: str | None, limit: float) -> tuple[int, Mapping[str, str], bytes]:
        http = self._client()
        import httpx  # an optional engine: only agents that ask a server pay for it

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(None, connect=min(limit, CONNECT_S))
        try:
            async with asyncio.timeout(limit):
                async with http.stream("POST", self.url, json=asked, headers=headers, timeout=timeout) as response:
                    return response.status_code, response.headers, await self._read(response)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self.url} did not answer within {limit:.3g} s; raise timeout_s of its engine section, or take a "
                "smaller model", began="unknown",
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(
                f"{self.url} cannot be reached ({self._hidden(str(error), key) or type(error).__name__}); is the "
                "server running, and is base_url of the engine section right?", began="no",
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unreachable(
                f"{self.url} broke off before its answer was complete "
                f"({self._hidden(str(error), key) or type(error).__name__}); see the server's log", began="unknown",
            ) from None

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MAX_ANSWER:
                raise RemoteFailure(f"{self.url} answered more than {MAX_ANSWER} bytes", type="AnswerTooLarge")
        return bytes(body)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            try:
                import httpx  # an optional engine: only agents that ask a server pay for it
            except ImportError:
                raise EngineMissing(
                    f"the engine at {self.engine.base_url} needs httpx, which is not installed: {INSTALL}",
                    command=INSTALL,
                ) from None
            size = self.engine.max_connections
            self._http = httpx.AsyncClient(
                limits=httpx.Limits(max_connections=size, max_keepalive_connections=size),
                trust_env=not is_loopback(urlsplit(self.url).hostname or ""),  # no proxy stands before this machine
            )
        return self._http

    def _refused(
        self, status: int, headers: Mapping[str, str], body: bytes, model: str, key: str | None
    ) -> MeshError:
        """Return the error that an answer other than 200 means."""
        said = self._said(body, key)
        if status in (401, 403):
            variable = self.engine.api_key_env
            fix = f"check the key in {variable}" if variable else "name the variable with the key in api_key_env"
            command = f"export {variable}=…" if variable else "set engine.api_key_env"
            return EngineMissing(f"{self.url} refused the key (HTTP {status}{said}); {fix}", command=command)
        if status == 404:
            return EngineMissing(
                f"{self.url} has no model {model!r} (HTTP 404{said}); set model of the engine section to one that "
                f"{self.engine.base_url}/models lists", command="set engine.model",
            )
        if status == 429:
            return RateLimited(f"{self.url} refused for now: too many requests (HTTP 429{said})",
                               retry_after=_retry_after(headers))
        if status in (502, 503):
            return Unavailable(f"{self.url} cannot answer now (HTTP {status}{said})",
                               retry_after=_retry_after(headers))
        return RemoteFailure(f"{self.url} failed (HTTP {status}{said})", type=f"HTTP {status}")

    def _completion(self, body: bytes, model: str, key: str | None) -> Completion:
        try:
            answer = json.loads(body)
        except ValueError:
            raise self._unusable("is not JSON", body, key) from None
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices:
            raise self._unusable("has no choices", body, key)
        message = choices[0].get("message") if isinstance(choices[0], dict) else None
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise self._unusable("has no text in its first choice", body, key)
        named = answer.get("model")
        return Completion(text, named if isinstance(named, str) and named else model, _usage(answer.get("usage")))

    def _unusable(self, fault: str, body: bytes, key: str | None) -> RemoteFailure:
        found = self._hidden(body[:_QUOTED].decode("utf-8", "replace"), key)
        return RemoteFailure(
            f"the answer of {self.url} {fault}: {found!r}; is it a server for OpenAI chat completions?",
            type="UnusableAnswer",
        )

    def _said(self, body: bytes, key: str | None) -> str:
        """Return what the server says about an error, short and without the key."""
        try:
            answer = json.loads(body)
        except ValueError:
            answer = body.decode("utf-8", "replace")
        if isinstance(answer, dict):
            answer = answer.get("error", answer)
        if isinstance(answer, dict):
            answer = answer.get("message", "")
        text = self._hidden(str(answer).strip(), key)[:_QUOTED]
        return f": {text}" if text else ""

    @staticmethod
    def _hidden(text: str, key: str | None) -> str:
        return text.replace(key, "***") if key else text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; its form as a date is left out, since clocks differ."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int for count in counts):
        return None
    return Usage(*counts)  # type: ignore[arg-type]  # both are int, as just seen
