"""The store of a registry in Redis, with a SQLite file of its host as copy.

What Redis holds counts. Every change passes one script that does it whole, and only while this registry's epoch stands
there: a registry that started later takes the store over, and the older one's changes are refused. The copy serves two
cases. While Redis is away at the start, the registry goes on with what the copy knows, and refuses changes. And when
Redis comes back with less than it was last seen to hold (its disk was lost, or is an older one), it is filled from the
copy, so nothing that was accepted is lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from redis.exceptions import RedisError

from mesh.clock import Clock
from mesh.config import ConnectionsConfig
from mesh.connections import Connections, Target
from mesh.errors import MeshError, StoreError, Unreachable
from mesh.metrics import Sample
from mesh.records import DESIRED_STATES
from registry.changes import UNSET, DesiredChange, OverrideChange
from registry.sqlite_store import SqliteStore
from registry.store import VERSION, Stored

T = TypeVar("T")
Change = DesiredChange | OverrideChange

log = logging.getLogger("registry.store")

_CLAIM = """
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local changes = tonumber(redis.call('HGET', KEYS[1], 'changes') or '0')
local format = tonumber(redis.call('HGET', KEYS[1], 'format') or '0')
local known, seen = tonumber(ARGV[3]), tonumber(ARGV[4])
if format > tonumber(ARGV[2]) then return {'format', tostring(format)} end
if epoch > tonumber(ARGV[1]) then return {'held', redis.call('HGET', KEYS[1], 'epoch')} end
if epoch == 0 or epoch < known or (epoch == known and changes < seen) then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'changes', ARGV[4])
    for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'format', ARGV[2])
return {'rows', redis.call('HGETALL', KEYS[1])}
"""
"""epoch, format, epoch and changes last seen, then fields and values of the copy: who holds it, or all rows."""

_SAVE = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch or tonumber(epoch) < tonumber(ARGV[1]) then return {'held', ''} end
if epoch ~= ARGV[1] then return {'held', epoch} end
if redis.call('HGET', KEYS[1], 'changes') ~= ARGV[2] then return {'held', ''} end
if ARGV[4] then redis.call('HSET', KEYS[1], ARGV[3], ARGV[4]) else redis.call('HDEL', KEYS[1], ARGV[3]) end
return {'changes', redis.call('HINCRBY', KEYS[1], 'changes', 1)}
"""
"""epoch, changes, field, value (none to remove it): who holds it (nobody: it is not as it was), or the changes now."""


class RedisStore:
    """The records of `mesh` in the Redis that config names; `adopted` is told what a Redis that came back holds."""

    kind = "redis"

    def __init__(
        self, mesh: str, config: ConnectionsConfig, copy: SqliteStore, clock: Clock, adopted: Callable[[Stored], None]
    ) -> None:
        self.key = f"mesh:{mesh}:registry"
        self._copy = copy
        self._adopted = adopted
        self._connections = Connections(config, clock, self._changed)
        self._redis = self._connections.of("registry").redis
        self._target = self._connections.redis
        self._rows: dict[str, str] = {}
        self._position = (0, 0)
        self._epoch = 0
        self._claimed = False
        self._refused: str | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def problem(self) -> str | None:
        """Why changes are refused now, or what is wrong with the copy."""
        health = self._target.health
        return self._refused or (health.reason if health.state == "down" else None) or self._copy.problem

    async def open(self) -> Stored:
        """Return what Redis holds, or the copy while Redis is away."""
        stored = await self._copy.open()
        self._position = self._copy.position
        changes: list[Change] = [*stored.desired, *stored.overrides]
        self._rows = dict(_field(change) for change in changes)
        self._connections.start()
        try:
            held: dict[bytes, bytes] = await self._done(cast(Any, self._redis.hgetall(self.key)))
        except StoreError as error:
            log.error("the registry goes on with its copy in %s and takes no changes: %s", self._copy.path, error)
            return stored
        if not held:
            return stored
        rows = self._read(held)
        behind = (_number(held, "epoch"), _number(held, "changes")) < self._position
        return Stored(max(stored.epoch, _number(held, "epoch")), *((stored.desired, stored.overrides) if behind
                                                                   else _parsed(rows, self._where)))

    async def save_epoch(self, epoch: int) -> None:
        """Take the store over for this epoch."""
        self._epoch = epoch
        await self._copy.save_epoch(epoch)
        async with self._turn:
            await self._claim()

    async def save(self, change: Change) -> None:
        """Keep a change in Redis, then in the copy; it counts once this returns."""
        async with self._turn:
            await self._save(change)

    async def _save(self, change: Change) -> None:
        field, value = _field(change)
        given = [field] if value is None else [field, value]
        if not self._claimed:
            await self._claim()
        told = await self._script(_SAVE, self._epoch, self._position[1], *given)
        if told[0] == b"held" and not told[1]:  # between two looks it came back with more, or less, than it had
            await self._claim()
            told = await self._script(_SAVE, self._epoch, self._position[1], *given)
        if told[0] == b"held":
            raise self._taken(told[1])
        if value is None:
            self._rows.pop(field, None)
        else:
            self._rows[field] = value
        await self._copied([change], int(told[1]), whole=False)

    async def close(self) -> None:
        """Let go of Redis and of the copy."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connections.close()
        await self._copy.close()

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of its connections for whoever scrapes."""
        return self._connections.samples()

    # -- holding it

    def _changed(self, target: Target) -> None:
        """Take the store over anew when Redis has come back: it may not hold what it held."""
        if target.health.state == "ok" and self._epoch:
            self._claimed = False
            task = asyncio.get_running_loop().create_task(self._return())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _return(self) -> None:
        try:
            async with self._turn:
                if not self._claimed:
                    await self._claim()
        except StoreError as error:
            log.error("%s", error)

    async def _claim(self) -> None:
        """Take the store over and learn what it holds; only in `_turn`."""
        known, seen = self._position
        fields = [text for row in self._rows.items() for text in row]
        told = await self._script(_CLAIM, self._epoch, VERSION, known, seen, *fields)
        if told[0] == b"format":
            self._refused = (f"{self._where} was written by a later version of the mesh (format {int(told[1])}, this "
                             f"one knows {VERSION}); update this installation")
            raise StoreError(self._refused)
        if told[0] == b"held":
            raise self._taken(told[1])
        held = dict(zip(told[1][::2], told[1][1::2], strict=True))
        self._rows = self._read(held)
        desired, overrides = _parsed(self._rows, self._where)
        self._claimed, self._refused = True, None
        self._adopted(Stored(self._epoch, desired, overrides))
        await self._copied((*desired, *overrides), _number(held, "changes"), whole=True)

    def _taken(self, epoch: bytes) -> StoreError:
        self._claimed = False
        self._refused = (f"another registry (epoch {epoch.decode()}) has taken over {self._where}; this one takes no "
                         "changes: stop one of them, and see `registry: host:` of config/hosts.yaml")
        return StoreError(self._refused)

    async def _copied(self, changes: Iterable[Change], number: int, *, whole: bool) -> None:
        """Bring the copy up to date; Redis has the change already, so a failure is only told."""
        self._position = (self._epoch, number)
        try:
            await self._copy.copy(changes, self._position, whole=whole)
        except StoreError as error:
            log.error("the copy of what Redis holds is behind: %s", error)

    # -- talking to it

    @property
    def _where(self) -> str:
        return f"{self.key} in Redis at {self._target.address}"

    async def _script(self, script: str, *arguments: object) -> list[Any]:
        """Run a script; once more over a new connection when the first broke, since to do it twice is to do it once."""
        words = [str(each) for each in arguments]
        try:
            told: list[Any] = await cast(Any, self._redis.eval(script, 1, self.key, *words))
        except Unreachable:
            told = await self._done(cast(Any, self._redis.eval(script, 1, self.key, *words)))
        except (MeshError, RedisError) as error:
            raise self._told(error) from None
        return told

    async def _done(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except (MeshError, RedisError) as error:
            raise self._told(error) from None

    def _told(self, error: MeshError | RedisError) -> StoreError:
        if isinstance(error, MeshError):
            return StoreError(error.message)
        return StoreError(f"{self._where} cannot be used: {error}; is the key another program's?")

    def _read(self, held: dict[bytes, bytes]) -> dict[str, str]:
        """Return the rows of what Redis holds, without its numbers."""
        return {field.decode(): value.decode() for field, value in held.items() if b" " in field}


def _field(change: Change) -> tuple[str, Any]:
    """Return field and value of a change; the value is None for one that is unset."""
    if isinstance(change, DesiredChange):
        return f"desired {change.service} {change.host}", change.desired
    value = None if change.value is UNSET else json.dumps(change.value)
    return f"override {change.service} {change.key}", value


def _parsed(rows: dict[str, str], where: str) -> tuple[tuple[DesiredChange, ...], tuple[OverrideChange, ...]]:
    """Return rows as changes; raises `StoreError` for one that nobody could have stored."""
    desired: list[DesiredChange] = []
    overrides: list[OverrideChange] = []
    for field, value in sorted(rows.items()):
        kind, service, rest = (*field.split(" ", 2), "", "")[:3]
        if kind == "desired" and value in DESIRED_STATES:
            desired.append(DesiredChange(service, rest, value))  # type: ignore[arg-type]  # it is one, as just seen
        elif kind == "override":
            try:
                overrides.append(OverrideChange(service, rest, json.loads(value)))
            except ValueError:
                raise _damaged(where, field) from None
        else:
            raise _damaged(where, field)
    return tuple(desired), tuple(overrides)


def _damaged(where: str, field: str) -> StoreError:
    return StoreError(f"{where} is damaged (field {field!r:.80}); remove that field, or the key to start from the copy")


def _number(held: dict[bytes, bytes], name: str) -> int:
    value = held.get(name.encode(), b"0")
    return int(value) if value.isdigit() else 0
