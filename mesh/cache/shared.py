"""Answers in the Redis of the mesh, where every host finds what another one has fetched.

Each label of an answer has a token in Redis, drawn anew once it is gone; an answer is kept under a seal of its labels'
tokens, read before its call began. To invalidate is to delete the token: no answer sealed with it is ever taken again,
also one that is written later, and an answer whose token Redis has lost does not count either. Every host deletes what
it hears of itself, and reads nothing while it has not: it asks no other host whether that was done.

Redis is an advantage, never a condition: what it fails at is counted, and it is left alone for a second.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable, Iterable
from contextvars import Context
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgpack

from mesh.clock import Clock
from mesh.connections import Connections
from mesh.errors import MeshError
from mesh.message import Reply

if TYPE_CHECKING:
    from mesh.connections.redis import RedisTarget

LIMIT_S = 0.25
"""Seconds a caller may lose to a Redis that does not answer, once a second."""
REST_S = 1.0
LARGEST = 1024 * 1024
"""Bytes of an answer that is kept there."""
TOKENS_S = 86400.0
MOST_UNSAVED = 1000
EVERYTHING = "*"


class Found(NamedTuple):
    """What a look has shown: an answer with the seconds since its call began, and the seal for one yet to come.

    Without a seal none may be put there.
    """

    reply: Reply | None = None
    age: float = 0.0
    seal: bytes | None = None


class Shared:
    """The cache's part of one Redis; `target` opens it when somebody looks."""

    def __init__(self, target: Callable[[], RedisTarget], mesh: str, clock: Clock) -> None:
        self.failures = 0
        self._target = target
        self._clock = clock
        self._prefix = f"mesh:{mesh}:cache:"
        self._unsaved: set[str] = set()
        self._leaving: set[str] = set()
        self._rests_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._saving = False

    async def look(self, key: bytes, labels: Iterable[str], left: float) -> Found:
        """Return what Redis holds under `key`, within `left` seconds and a quarter of one; raises nothing."""
        if self._unsaved or self._leaving or not self._awake():
            return Found()
        names = sorted((*labels, EVERYTHING))
        tokens = [f"{self._prefix}token:{name}" for name in names]
        sent = self._clock.monotonic()

        def ask(pipeline: Any) -> None:
            pipeline.mget([self._name(key), *tokens])
            pipeline.pttl(self._name(key))

        told = await self._try(ask, left)
        if told is None:
            return Found()
        (packed, *known), lives_ms = told
        if None in known:
            return Found(seal=await self._seal_anew(names, tokens, left - (self._clock.monotonic() - sent)))
        seal = _seal(names, known)
        reply, age = _opened(packed, seal, lives_ms)
        return Found(reply, age + self._clock.monotonic() - sent, seal)

    def put(self, key: bytes, seal: bytes, reply: Reply, age: float, life: float) -> None:
        """Keep an answer whose call began `age` seconds ago for `life` seconds from then on, some time later."""
        if len(reply.body) > LARGEST or age >= life or not self._awake():
            return
        packed = cast(bytes, msgpack.packb([seal, life, reply.host, reply.body]))
        self._spawn(self._put(key, packed, max(1, int((life - age) * 1000))))

    def forget(self, labels: Iterable[str]) -> None:
        """Have no answer of these labels count any more; until Redis has taken that, nothing is read from it."""
        self._unsaved.update(labels)
        if len(self._unsaved) > MOST_UNSAVED:
            self._unsaved = {EVERYTHING}
        if self._unsaved and not self._saving:
            self._saving = True
            self._spawn(self._save())

    async def close(self) -> None:
        """End what is on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- inside

    async def _put(self, key: bytes, packed: bytes, milliseconds: int) -> None:
        await self._try(lambda pipeline: pipeline.set(self._name(key), packed, px=milliseconds))

    async def _save(self) -> None:
        """Delete the tokens of what was invalidated, until Redis has done it."""
        try:
            while self._unsaved:
                self._leaving, self._unsaved = self._unsaved, set()
                names = [f"{self._prefix}token:{name}" for name in self._leaving]
                done = await self._try(functools.partial(_delete, names))
                if done is None:
                    self._unsaved |= self._leaving
                    await self._clock.sleep(REST_S)
                self._leaving = set()
        finally:
            self._saving = False

    async def _seal_anew(self, names: list[str], tokens: list[str], left: float) -> bytes | None:
        """Draw the tokens that are missing and return the seal of all; another host may have been first."""

        def ask(pipeline: Any) -> None:
            for token in tokens:
                pipeline.set(token, secrets.token_bytes(12), nx=True, px=int(TOKENS_S * 1000))
            pipeline.mget(tokens)

        told = await self._try(ask, left)
        return None if told is None or None in told[-1] else _seal(names, told[-1])

    async def _try(self, fill: Callable[[Any], object], left: float = LIMIT_S) -> list[Any] | None:
        """Return what the commands that `fill` collects have answered, None if that failed."""
        from redis.exceptions import RedisError  # a tenth of a second, for those who name a Redis

        from mesh.connections.redis import RedisClient

        if left <= 0:
            return None
        try:
            client = RedisClient(self._target(), remaining=lambda: min(left, LIMIT_S))
            async with client.pipeline(transaction=False) as pipeline:
                fill(pipeline)
                return await pipeline.execute()
        except (MeshError, RedisError):
            self.failures += 1
            if left >= LIMIT_S:
                self._rests_until = self._clock.monotonic() + REST_S
            return None

    def _awake(self) -> bool:
        return self._clock.monotonic() >= self._rests_until and self._target().health.state != "down"

    def _name(self, key: bytes) -> str:
        return f"{self._prefix}answer:{blake2b(key, digest_size=20).hexdigest()}"

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def shared_in(connections: Connections, mesh: str, clock: Clock) -> Shared:
    """Return the cache's part of the Redis that config names."""
    return Shared(lambda: connections.redis, mesh, clock)


def _delete(names: list[str], pipeline: Any) -> None:
    pipeline.delete(*names)


def _seal(names: list[str], tokens: list[bytes]) -> bytes:
    return blake2b(cast(bytes, msgpack.packb(list(zip(names, tokens, strict=True)))), digest_size=16).digest()


def _opened(packed: bytes | None, seal: bytes, lives_ms: int) -> tuple[Reply | None, float]:
    """Return an answer and its age in seconds; None for one of another seal, or that does not read."""
    if packed is None or lives_ms < 0:
        return None, 0.0
    try:
        sealed, life, host, body = msgpack.unpackb(packed)
        if sealed == seal and type(body) is bytes and type(host) is str:
            return Reply(body, host=host), max(0.0, float(life) - lives_ms / 1000)
    except Exception:  # somebody else's key, or another version's: it does not count
        pass
    return None, 0.0
