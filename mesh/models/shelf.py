"""Loads models once per process and keeps them while the budget has room.

Whoever asks for a model that is being loaded waits for that one load. A failed load is told to all who waited; the next
call tries again, after the second failure not at once but after a delay that grows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import psutil

from mesh.clock import Clock
from mesh.config import Budget
from mesh.errors import InvalidArgument, MeshError, Unavailable
from mesh.metrics import Sample, counter, gauge
from mesh.models.batched import Batched
from mesh.models.ledger import CPU, Key, Ledger, Model

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - an outcome
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
Carry = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Awaitable[Any]]

DELAYS_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
MIB = 2**20

LOADED = gauge("mesh_models_loaded", "Models in memory.", "device")
HELD = gauge("mesh_model_memory_bytes", "Memory that models take, as declared or measured.", "device")
LIMIT = gauge("mesh_model_limit_bytes", "Memory that models may take.", "device")
LOADS = counter("mesh_model_loads_total", "Loads of models that worked.")
FAILED = counter("mesh_model_load_failures_total", "Loads of models that failed.")
UNLOADS = counter("mesh_model_unloads_total", "Models that were let go to make room for others.")
BATCHES = counter("mesh_batches_total", "Batches that were given to models.", "service")
ITEMS = counter("mesh_batch_items_total", "Items in the batches that were given to models.", "service")
QUEUED = gauge("mesh_batch_items_waiting", "Items that wait for a batch.", "service")


class _Left(Exception):
    """The agent whose thread was to load a model is gone before it began; the others' threads do it."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


@dataclass(slots=True)
class Failure:
    """Loads that failed in a row."""

    reason: str
    count: int
    again_at: float


class Shelf:
    """The models of one process."""

    def __init__(self, budget: Budget, clock: Clock) -> None:
        self.ledger = Ledger(budget)
        self.clock = clock
        self.loads = self.failed = self.unloads = self._begun = 0
        self.batches: dict[str, list[Batched[Any, Any]]] = {}
        self._loading: dict[Key, asyncio.Task[Any]] = {}
        self._there: dict[Key, Any] = {}
        self._failures: dict[Key, Failure] = {}

    def of(self, service: str, run: Run, carry: Carry | None = None) -> AgentModels:
        """Return the shelf as one agent is handed it; `run` runs a blocking function in a thread of the agent."""
        return AgentModels(self, service, run, carry)

    async def load(
        self, key: Key, owner: str, loader: Callable[[], T], run: Run, *, device: str, memory_mb: float | None
    ) -> T:
        """Return the model, which `loader` makes if it is not there."""
        while True:
            model = self.ledger.models.get(key)
            if model is not None:
                self._check(model, device, memory_mb)
                model.owners.add(owner)
                model.used_at = self.clock.monotonic()
                if model.loaded:
                    return cast(T, self._there[key])
            else:
                self._begin(key, owner, loader, run, device, memory_mb)
            try:
                return cast(T, await asyncio.shield(self._loading[key]))
            except _Left as left:
                if left.owner == owner:
                    raise Unavailable(f"model {key[1]} was not loaded: {owner} stops") from None

    def leave(self, owner: str) -> None:
        """Forget an agent, and the models that nobody else has asked for."""
        for key, model in list(self.ledger.models.items()):
            model.owners.discard(owner)
            if not model.owners:
                self._drop(key)
        for key in [key for key in self._failures if key[0] == owner]:
            del self._failures[key]
        self.batches.pop(owner, None)

    def limits(self, owner: str) -> list[str]:
        """Return why models limit an agent: each that could not be loaded says so."""
        return [failure.reason for key, failure in self._failures.items() if key[0] == owner]

    def lines(self, owner: str | None = None) -> list[dict[str, object]]:
        """Return the ledger's lines, those of one agent or all."""
        return [model.to_wire() for _, model in sorted(self.ledger.models.items())
                if owner is None or owner in model.owners]

    def devices(self) -> list[dict[str, object]]:
        """Return for each device in use or with a limit what it has and what is held of it, MiB."""
        names = sorted({*self.ledger.limits, *(model.device for model in self.ledger.models.values())})
        return [{"device": name, "limit_mb": self.ledger.limits.get(name),
                 "held_mb": round(self.ledger.held(name), 1)} for name in names]

    def samples(self) -> Iterator[Sample]:
        """Yield the figures for whoever scrapes."""
        models = self.ledger.models.values()
        for device in sorted({CPU, *self.ledger.limits, *(model.device for model in models)}):
            yield LOADED.sample(sum(model.loaded and model.device == device for model in models), device)
            yield HELD.sample(self.ledger.held(device) * MIB, device)
            if device in self.ledger.limits:
                yield LIMIT.sample(self.ledger.limits[device] * MIB, device)
        yield LOADS.sample(self.loads)
        yield FAILED.sample(self.failed)
        yield UNLOADS.sample(self.unloads)
        for service, batches in self.batches.items():
            yield BATCHES.sample(sum(one.batches for one in batches), service)
            yield ITEMS.sample(sum(one.items for one in batches), service)
            yield QUEUED.sample(sum(len(one) for one in batches), service)

    # -- inside

    def _check(self, model: Model, device: str, memory_mb: float | None) -> None:
        """Raise `InvalidArgument` where one name stands for two models."""
        if model.device != device or memory_mb not in (None, model.declared_mb):
            raise InvalidArgument(
                f"model {model.key[1]} of {', '.join(sorted(model.owners))} is on {model.device} and was declared to "
                f"take {model.declared_mb} MiB; asked was for {device} and {memory_mb} MiB: give one another name",
                path="name",
            )

    def _begin(
        self, key: Key, owner: str, loader: Callable[[], Any], run: Run, device: str, memory_mb: float | None
    ) -> None:
        now, failure = self.clock.monotonic(), self._failures.get(key)
        if failure is not None and now < failure.again_at:
            raise Unavailable(f"{failure.reason}; it is tried again in {failure.again_at - now:.1f} s",
                              retry_after=round(failure.again_at - now, 1))
        for going in self.ledger.room_for(key[1], device, memory_mb or 0.0, now):
            self._unload(going)
        self.ledger.models[key] = Model(key, device, memory_mb or 0.0, now, {owner}, declared_mb=memory_mb)
        self._begun += 1
        work = self._make(key, owner, loader, run, measured=memory_mb is None and device == CPU)
        self._loading[key] = task = asyncio.get_running_loop().create_task(work, name=f"load {key[1]}")
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # told to whoever waits

    async def _make(self, key: Key, owner: str, loader: Callable[[], Any], run: Run, *, measured: bool) -> Any:
        """Run the loader in a thread and put what it made on the shelf."""
        begun = self._begun if len(self._loading) == 1 else -1
        before = psutil.Process().memory_info().rss if measured else 0
        work = asyncio.ensure_future(run(loader))
        try:
            made = await work
            model = self.ledger.models[key]
            if measured and begun == self._begun:  # else the growth is not this model's alone
                model.memory_mb = max(0.0, (psutil.Process().memory_info().rss - before) / MIB)
                model.measured = True
                self._fit(model)
        except asyncio.CancelledError:
            if work.cancelled() and not _cancelling():  # the thread pool of its agent was closed before it began
                self._forget(key)
                raise _Left(owner) from None
            raise
        except Exception as error:
            self._fail(key, error)
            raise
        self._there[key] = made
        model.loaded, model.used_at = True, self.clock.monotonic()
        self._loading.pop(key, None)
        self._failures.pop(key, None)
        self.loads += 1
        return made

    def _fit(self, model: Model) -> None:
        """Make room for a model that turned out to be larger than its declaration; raises if there is none."""
        size, model.memory_mb = model.memory_mb, 0.0
        for going in self.ledger.room_for(model.key[1], model.device, size, self.clock.monotonic(), keep=model.key):
            self._unload(going)
        model.memory_mb = size

    def _fail(self, key: Key, error: Exception) -> None:
        self._forget(key)
        self.failed += 1
        count = self._failures[key].count + 1 if key in self._failures else 0
        delay = DELAYS_S[min(count, len(DELAYS_S) - 1)]
        told = error.message if isinstance(error, MeshError) else f"{type(error).__name__}: {error}"
        self._failures[key] = Failure(f"model {key[1]} could not be loaded: {told}", count,
                                      self.clock.monotonic() + delay)

    def _unload(self, key: Key) -> None:
        self.unloads += 1
        self._drop(key)

    def _drop(self, key: Key) -> None:
        task = self._loading.get(key)
        self._forget(key)
        if task is not None:
            task.cancel()

    def _forget(self, key: Key) -> None:
        self.ledger.models.pop(key, None)
        self._loading.pop(key, None)
        self._there.pop(key, None)


class AgentModels:
    """The models of one agent."""

    def __init__(self, shelf: Shelf, service: str, run: Run, carry: Carry | None) -> None:
        self._shelf = shelf
        self._service = service
        self._run = run
        self._carry = carry
        self._shared: set[str] = set()

    async def load(
        self, name: str, loader: Callable[[], T], *, memory_mb: float | None, device: str, shared: bool
    ) -> T:
        """Return the model `name`, loaded once; see `MLAgent.load`."""
        key = ("" if shared else self._service, name)
        if shared:
            self._shared.add(name)
        model = self._shelf.ledger.models.get(key)
        if self._carry is None or (model is not None and model.loaded and self._service in model.owners):
            return await self._shelf.load(key, self._service, loader, self._run, device=device, memory_mb=memory_mb)
        return cast(T, await self._carry(lambda: self._shelf.load(
            key, self._service, loader, self._run, device=device, memory_mb=memory_mb
        )))

    def batched(self, batched: Batched[I, O]) -> Batched[I, O]:
        """Count the batches of `batched` as this agent's."""
        self._shelf.batches.setdefault(self._service, []).append(batched)
        return batched

    def limits(self) -> list[str]:
        """Return why models limit this agent."""
        shared = [self._shelf._failures.get(("", name)) for name in sorted(self._shared)]
        return [*self._shelf.limits(self._service), *(failure.reason for failure in shared if failure is not None)]

    async def leave(self) -> None:
        """Give back every model that nobody else uses."""

        async def left() -> None:
            self._shelf.leave(self._service)

        await (left() if self._carry is None else self._carry(left))


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
