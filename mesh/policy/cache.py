"""Give an answer that was given before: from memory, from the Redis of the mesh, or from a call that is under way.

The rules, which hold for every host by itself:

* An answer is never older than its terms say when somebody asks, counted from when the call that got it was begun.
* A call begun after an invalidation was heard here never gets an answer fetched before: kept ones go at once, and those
  under way are not kept, and nobody else joins them.
* Of one question, at most one call is under way that somebody may still join.
* What came of it is given as it came; only values are kept, never errors.

What is not known here: an invalidation that did not arrive, because the link to its host was lost. When a link is up
again, or events were lost on it, everything in this memory goes; until then the lifetime of the answers is the bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from typing import Any

from mesh.cache.dependencies import Dependencies
from mesh.cache.group import Group
from mesh.cache.key import key_of, prefix_of
from mesh.cache.memory import Entry, Memory
from mesh.cache.shared import EVERYTHING, Found, Shared
from mesh.cache.terms import INVALIDATED, LONGEST_TAG, MOST_TAGS, Terms, terms_of
from mesh.clock import Clock
from mesh.config import CacheRule
from mesh.errors import ProtocolError
from mesh.message import Answer, Event, Handler, Reply, Request, Responder
from mesh.metrics import Sample, counter, gauge
from mesh.policy.flight import Flight
from mesh.policy.invalidate import invalidate
from mesh.records import InstanceRecord
from mesh.topics import matches
from mesh.tracing import Span, SpanRing
from mesh.transport.deadlines import Deadlines

REFRESH_S = 30.0
"""Seconds that the call has that fetches a new answer while the old one is given."""

CALLS = counter("mesh_cache_calls_total", "Calls to operations whose answers are kept, by what came of them: `hit`, "
                "`stale` (given while a new answer was fetched), `shared` (from Redis), `coalesced` (waited for the "
                "call of another) or `miss`.", "service", "outcome")
LET_GO = counter("mesh_cache_invalidated_total", "Kept answers let go because they no longer held.", "service")
EVICTED = counter("mesh_cache_evicted_total", "Kept answers that made room for others.", "service")
ENTRIES = gauge("mesh_cache_entries", "Answers in this host's memory.", "service")
BYTES = gauge("mesh_cache_bytes", "Memory that kept answers take, by estimate.", "service")
REDIS_FAILED = counter("mesh_cache_redis_failures_total", "What Redis failed to do for kept answers; no call "
                       "failed for it.")


Announced = tuple[str, Mapping[str, Mapping[str, Any]]]
"""Version and traits of a service, as all its instances have them."""


class HostCache:
    """The answers that one host keeps for its callers.

    `publish` sends an event to all hosts, this one included; `instances` returns the rows of a service; `changed` is
    told of a service whose operations announce something else.
    """

    def __init__(
        self, host: str, clock: Clock, deadlines: Deadlines, spans: SpanRing, *, entries: int, size: int,
        publish: Callable[[str, Any, str], None], instances: Callable[[str], Sequence[InstanceRecord]],
        changed: Callable[[str], None], shared: Shared | None = None,
    ) -> None:
        self._instances = instances
        self._changed = changed
        self._announced: dict[str, Announced] = {}
        self._dependencies = Dependencies()
        self._host = host
        self._clock = clock
        self._deadlines = deadlines
        self._spans = spans
        self._memory = Memory(entries, size)
        self._publish = publish
        self._shared = shared
        self._groups: dict[str, Group] = {}
        self._versions: dict[str, str] = {}
        self._flights: dict[bytes, tuple[Flight, Group]] = {}
        self._tasks: set[asyncio.Task[Reply]] = set()

    # -- calls

    def over(self, service: str, operation: str, rule: CacheRule | None, inner: Handler) -> Handler:
        """Return `inner` behind the kept answers of an operation, `inner` itself where none are to be kept."""
        version, traits = self._announced.get(service, ("", {}))
        trait = traits.get(operation, {})
        terms = None
        if rule is not None and trait.get("idempotent") and ("cache" in trait or rule.undeclared):
            terms = terms_of(service, operation, trait.get("cache"), ttl_s=rule.ttl_s, stale_s=rule.stale_s,
                             redis=rule.redis)
        if terms is not None:
            return self.in_front_of(terms, version, inner)
        group = self._groups.get(f"{service}.{operation}")
        if group is not None and group.on:
            group.on = False
            self._spoil(group)
        return inner

    def in_front_of(self, terms: Terms, version: str, inner: Handler) -> Handler:
        """Return `inner` behind the kept answers of one operation, given by code of that `version`."""
        group = self._group(terms, version)
        memory, clock, names = self._memory, self._clock, terms.key
        prefix, fresh, usable = prefix_of(terms.target, version), terms.ttl_s, terms.ttl_s + terms.stale_s

        async def handle(request: Request) -> Reply:
            key = None if request.credit else key_of(prefix, request.to_host, request.body, names)
            if key is None:
                return await inner(request)
            entry = memory.get(key)
            if entry is not None:
                age = clock.monotonic() - entry.born
                if age < fresh:
                    group.hits += 1
                    if request.trace.sampled:
                        self._span(request, 0.0)
                    return entry.reply
                if age < usable:
                    return self._given_stale(group, key, entry, request, inner)
                memory.drop(key)
            return await self._fetched(group, key, request, inner)

        return handle

    def _given_stale(self, group: Group, key: bytes, entry: Entry, request: Request, inner: Handler) -> Reply:
        """Return an answer whose time is over, and have a new one fetched."""
        group.stale += 1
        self._span(request, 0.0)
        self._refresh(group, key, request, inner)
        return entry.reply

    def _refresh(self, group: Group, key: bytes, request: Request, inner: Handler) -> None:
        if self._under_way(group, key) is not None:
            return
        again = request._replace(deadline=self._clock.monotonic() + REFRESH_S, trace=request.trace.child())
        flight = self._open(group, key)
        task = asyncio.get_running_loop().create_task(self._fly(flight, group, key, again, inner, True),
                                                      context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetched(self, group: Group, key: bytes, request: Request, inner: Handler) -> Reply:
        """Return the answer of a call, one's own or that of another who asks the same."""
        began, waited = self._clock.monotonic(), False
        while (flight := self._under_way(group, key)) is not None:
            group.coalesced += not waited
            waited = True
            reply = await flight.join(request, self._deadlines)
            if reply is not None:
                self._span(request, self._clock.monotonic() - began)
                return reply
        return await self._fly(self._open(group, key), group, key, request, inner, False)

    def _under_way(self, group: Group, key: bytes) -> Flight | None:
        """Return the call that may be joined; what it gets would be too old if it began longer ago than answers live.
        """
        known = self._flights.get(key)
        if known is None or self._clock.monotonic() - known[0].began >= group.terms.ttl_s:
            return None
        return known[0]

    def _open(self, group: Group, key: bytes) -> Flight:
        flight = Flight(self._clock.monotonic())
        self._flights[key] = flight, group
        return flight

    async def _fly(
        self, flight: Flight, group: Group, key: bytes, request: Request, inner: Handler, refreshes: bool
    ) -> Reply:
        """Fetch an answer, keep it if it is a value that holds, and give it to all who wait."""
        reply: Reply | None = None
        began = self._clock.monotonic()
        try:
            found = Found()
            if self._shared is not None and group.terms.redis:
                found = await self._shared.look(key, group.labels, request.deadline - began)
                if found.reply is not None and found.age < group.terms.ttl_s + (not refreshes) * group.terms.stale_s:
                    reply = self._found(group, found, request)
                    self._keep(flight, group, key, reply, self._clock.monotonic() - found.age)
                    return reply
                began = self._clock.monotonic()
            group.misses += not refreshes
            reply = await inner(request)
            if reply.error is None and reply.items is None:
                self._keep(flight, group, key, reply, began)
                if found.seal is not None and self._shared is not None:
                    life = group.terms.ttl_s + group.terms.stale_s
                    self._shared.put(key, found.seal, reply, self._clock.monotonic() - began, life)
            return reply
        finally:
            if self._flights.get(key, (None,))[0] is flight:
                del self._flights[key]
            flight.land(reply)

    def _found(self, group: Group, found: Found, request: Request) -> Reply:
        assert found.reply is not None
        group.shared += 1
        self._span(request, 0.0)
        return found.reply

    def _keep(self, flight: Flight, group: Group, key: bytes, reply: Reply, born: float) -> None:
        if not flight.spoiled:
            self._memory.put(key, Reply(reply.body, host=reply.host), born, group)

    def _span(self, request: Request, duration: float) -> None:
        """Leave a mark in a sampled trace that no agent was asked."""
        trace = request.trace
        if trace.sampled:
            self._spans.add(Span(
                trace.trace_id, trace.span_id, trace.parent_id, request.service, request.operation, self._host,
                self._clock.time() - duration, duration, None, "cache", request.caller, sampled=True,
            ))

    # -- what no longer holds

    def learn(self, services: Iterable[str]) -> bool:
        """Take what services announce whose rows have changed; tells whether other topics are to be heard now.

        What a service has announced counts on while no host lists it.
        """
        before = self._dependencies.topics
        for service in services:
            rows = [row for row in self._instances(service) if row.operations]  # others are not loaded yet
            announced = _announced(rows)
            if rows and announced != self._announced.get(service, ("", {})):
                self._announced[service] = announced
                self._dependencies.take(service, announced[1])
                self._changed(service)
        return self._dependencies.topics != before

    def patterns(self) -> tuple[str, ...]:
        """Return what is to be heard."""
        return (INVALIDATED, *sorted(self._dependencies.topics))

    def watching(self, request: Request, inner: Responder) -> Answer:
        """Have a request answered on this host; if it is one after which answers no longer hold, every host is told."""
        operations = self._dependencies.operations.get(request.service)
        if operations is None or request.operation not in operations:
            return inner(request)
        return invalidate(request, inner, self._ran)

    def _ran(self, request: Request) -> None:
        self._publish(INVALIDATED, {"tags": [request.target]}, f"supervisor@{self._host}")

    def hear(self, event: Event) -> None:
        """Take an event that says, or means, that answers no longer hold; one that does not read says nothing."""
        labels = {pattern for pattern in self._dependencies.topics if matches(pattern, event.topic)}
        if event.topic == INVALIDATED:
            labels.update(_tags(event))
        if labels:
            self.invalidate(labels)

    def invalidate(self, labels: Iterable[str]) -> int:
        """Let go of every answer that has one of these labels, here and in Redis; returns how many were in memory."""
        wanted = frozenset(labels)
        everything = EVERYTHING in wanted
        count = sum(self._spoil(group) for group in self._groups.values()
                    if everything or not wanted.isdisjoint(group.labels))
        if self._shared is not None:
            self._shared.forget(wanted)
        return count

    def clear(self) -> None:
        """Let go of everything in memory: an invalidation may have been missed."""
        for group in self._groups.values():
            self._spoil(group)

    def _spoil(self, group: Group) -> int:
        """Let go of a group's answers; those under way are nobody else's."""
        for key, (flight, owner) in list(self._flights.items()):
            if owner is group:
                flight.spoiled = True
                del self._flights[key]
        count = self._memory.clear(group)
        group.invalidated += count
        return count

    def _group(self, terms: Terms, version: str) -> Group:
        """Return the group of an operation under the terms in force; other code, or other labels, begin anew."""
        labels = terms.labels()
        group = self._groups.get(terms.target)
        if group is None:
            group = self._groups[terms.target] = Group(terms, labels)
        elif group.labels != labels or self._versions[terms.target] != version:
            self._spoil(group)
        group.terms, group.labels, group.on = terms, labels, True
        self._versions[terms.target] = version
        return group

    async def close(self) -> None:
        """End what is on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()

    # -- figures

    def rows(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return terms and figures of each operation whose answers are kept, of one service or of all."""
        return [self.row(group.terms.target) for _, group in sorted(self._groups.items())
                if group.on and service in (None, group.terms.service)]

    def row(self, target: str) -> dict[str, Any]:
        """Return terms and figures of one operation whose answers are kept; empty for any other."""
        group = self._groups.get(target)
        if group is None:
            return {}
        return {
            "service": group.terms.service, "operation": group.terms.operation, **group.terms.row(),
            "entries": len(group.keys), "bytes": group.size, "hits": group.hits, "stale": group.stale,
            "shared": group.shared, "coalesced": group.coalesced, "misses": group.misses,
            "invalidated": group.invalidated, "evicted": group.evicted,
        }

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every service whose answers are kept."""
        services: dict[str, list[Group]] = {}
        for group in self._groups.values():
            services.setdefault(group.terms.service, []).append(group)
        for service, groups in services.items():
            for outcome in ("hit", "stale", "shared", "coalesced", "miss"):
                name = _FIELDS.get(outcome, outcome)
                yield CALLS.sample(sum(getattr(group, name) for group in groups), service, outcome)
            yield LET_GO.sample(sum(group.invalidated for group in groups), service)
            yield EVICTED.sample(sum(group.evicted for group in groups), service)
            yield ENTRIES.sample(sum(len(group.keys) for group in groups), service)
            yield BYTES.sample(sum(group.size for group in groups), service)
        if self._shared is not None:
            yield REDIS_FAILED.sample(self._shared.failures)


_FIELDS = {"hit": "hits", "miss": "misses"}


def _announced(rows: Sequence[InstanceRecord]) -> Announced:
    """Return what stands for the instances with their code, and the traits on which all of them agree.

    A new incarnation counts as new code: it may have read other files and settings.
    """
    traits = dict(rows[0].traits) if rows else {}
    for row in rows[1:]:
        for operation in [name for name in traits if row.traits.get(name) != traits[name]]:
            del traits[operation]
    cached = {name: trait for name, trait in traits.items() if trait.get("idempotent")}
    return "+".join(sorted(f"{row.version}.{row.incarnation}" for row in rows)), cached


def _tags(event: Event) -> Iterator[str]:
    """Yield the tags that an event names, at most 64; none for a payload that is not one of ours."""
    try:
        told = event.value()
    except ProtocolError:
        return
    tags = told.get("tags") if isinstance(told, dict) else None
    for tag in tags[:MOST_TAGS] if isinstance(tags, list) else ():
        if type(tag) is str and 0 < len(tag) <= LONGEST_TAG:
            yield tag
