"""The two onions of a call, each composed once for an operation, in the order in which a request passes.

Only policies whose rule is on are in an onion; when rules change it is composed anew. What has to outlive that, such as
the state of breakers, is kept beside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from random import Random

from mesh.clock import Clock
from mesh.config import RetryRule, Rules
from mesh.message import Handler, Reply, Request
from mesh.metrics import Sample
from mesh.policy.breakers import Breakers
from mesh.policy.budget import Budgets
from mesh.policy.bulkhead import Bulkheads, bulkhead
from mesh.policy.cache import HostCache
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.fallback import Fallbacks, fallback
from mesh.policy.hops import hops
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats, measure
from mesh.policy.pause import Pauses, held, pause
from mesh.policy.rate import Rates, rate
from mesh.policy.resolve import CONTROL, Avoid, Resolver, Send
from mesh.policy.retry import retry
from mesh.policy.rules import OPERATIONS, RuleBook
from mesh.records import InstanceRecord
from mesh.tracing import SpanRing

Carry = Callable[[Request, str], Awaitable[Reply]]


class Outgoing:
    """What a caller's request passes on its way out; calling it makes the call.

    `local` answers the calls of this host to itself, `remote` takes the others to the host named; `cache` keeps
    answers.
    """

    def __init__(
        self, rules: RuleBook, resolver: Resolver, local_host: str, *, local: Handler, remote: Carry, clock: Clock,
        cache: HostCache | None = None,
    ) -> None:
        self.breakers = Breakers(clock, resolver.instances)
        self.budgets = Budgets(clock)
        self._random = Random()
        self.fallbacks = Fallbacks()
        self.bulkheads = Bulkheads()
        self.pauses = Pauses()
        self._clock = clock
        self._rules = rules
        self._resolver = resolver
        self._host = local_host
        self._local = local
        self._remote = remote
        self.cache = cache
        self._handlers: dict[str, dict[str, Handler]] = {}
        self._changes = rules.changes

    def __call__(self, request: Request) -> Awaitable[Reply]:
        """Make a call."""
        if self._changes != self._rules.changes:
            self._changes = self._rules.changes
            self._handlers.clear()
        of_service = self._handlers.get(request.service)
        handler = None if of_service is None else of_service.get(request.operation)
        return (handler or self._composed(request.service, request.operation))(request)

    def _composed(self, service: str, operation: str) -> Handler:
        handler = self._compose(service, operation)
        if service in CONTROL or self._resolver.knows(service):
            of_service = self._handlers.setdefault(service, {})
            if len(of_service) < OPERATIONS:
                of_service[operation] = handler
        return handler

    def _compose(self, service: str, operation: str) -> Handler:
        """Put the onion together, from the wire outward."""
        if service in CONTROL:
            return hops(self._resolver.in_front_of_control(self.carry))
        rules = self._rules.of(service, operation)
        send: Send = self._send
        if rules.pause is not None:
            send = pause(self.pauses, rules.pause.most_s, self._clock, send)
        if rules.bulkhead is not None:
            send = bulkhead(self.bulkheads.of(service, rules.bulkhead.calls), send)
        send, avoid = self._guarded(service, operation, rules, send)
        handler = self._resolver.in_front_of(
            send, rules, avoid, held=held(self.pauses, self._clock) if rules.pause else None)
        if rules.retry is not None:
            handler = self._retried(service, operation, rules.retry, handler)
        if self.cache is not None:
            handler = self.cache.over(service, operation, rules.cache, handler)
        if rules.fallback is not None:
            handler = fallback(rules.fallback, self.fallbacks, self, handler)
        return hops(handler)

    def _guarded(self, service: str, operation: str, rules: Rules, send: Send) -> tuple[Send, Avoid | None]:
        """Return the way to an instance through its breaker, and what tells which are open."""
        if rules.breaker is None:
            self.breakers.drop(service, operation)
            return send, None
        return self.breakers.in_front_of(send, rules.breaker, operation), self.breakers.avoid(operation)

    def _retried(self, service: str, operation: str, rule: RetryRule, handler: Handler) -> Handler:
        """Return `handler` asked again as `rule` says, within the budget of the whole service."""
        known = self._resolver.idempotent(service, operation) or False

        def idempotent() -> bool:
            nonlocal known
            told = self._resolver.idempotent(service, operation)
            known = known if told is None else told  # that of a host which is gone is remembered
            return known

        budget = self.budgets.of(service, self._rules.of(service, "").retry or rule)
        return retry(rule, budget, idempotent, self._clock, self._random, handler)

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of the policies that keep some."""
        yield from self.fallbacks.samples()
        yield from self.bulkheads.samples()
        yield from self.pauses.samples()
        yield from self.breakers.samples()
        yield from self.budgets.samples()

    def _send(self, request: Request, row: InstanceRecord) -> Awaitable[Reply]:
        """Take a request to the host of the instance that was chosen."""
        return self.carry(request, row.host)

    def carry(self, request: Request, host: str) -> Awaitable[Reply]:
        """Take a request to a host, past every policy."""
        if request.options:  # they were for this host
            request = request._replace(options=b"")
        return self._local(request) if host == self._host else self._remote(request, host)


def incoming(
    method: Handler, *, service: str, rules: RuleBook, stats: CallStats, spans: SpanRing, host: str, inbox: Inbox,
    guard: DeadlineGuard, clock: Clock, rates: Rates,
) -> Handler:
    """Return what a request passes on its way to a cell's method."""
    behind = inbox.in_front_of(guard.in_front_of(method))
    handlers: dict[str, Handler] = {}
    composed_at = rules.changes

    def by_operation(request: Request) -> Awaitable[Reply]:
        nonlocal composed_at
        if composed_at != rules.changes:
            composed_at = rules.changes
            handlers.clear()
        handler = handlers.get(request.operation)
        if handler is None:
            handler = compose(request.operation)
            if len(handlers) < OPERATIONS:
                handlers[request.operation] = handler
        return handler(request)

    def compose(operation: str) -> Handler:
        """Put the onion together, from the method outward."""
        limit = rules.of(service, operation).rate
        if limit is None:
            return behind
        return rate(rates.of(operation, limit.calls, limit.per_s), clock, behind)

    return measure(stats, spans, host, clock, by_operation)
