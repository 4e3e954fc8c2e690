"""The two onions of a call, each composed once for an operation, in the order in which a request passes.

Only policies whose rule is on are in an onion; when rules change it is composed anew. What has to outlive that, such as
the state of breakers, is kept beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from mesh.clock import Clock
from mesh.config import RetryRule, Rules
from mesh.errors import RateLimited
from mesh.message import Answer, Handler, Request, Responder
from mesh.metrics import Sample
from mesh.policy.answering import Answering
from mesh.policy.breakers import Breakers
from mesh.policy.budget import Budgets
from mesh.policy.bulkhead import Bulkheads
from mesh.policy.cache import HostCache
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.fallback import Fallbacks, fallback
from mesh.policy.hops import hops
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats, Measure
from mesh.policy.passage import Passage
from mesh.policy.pause import Hold, Pauses
from mesh.policy.rate import Buckets, Rates
from mesh.policy.resolve import CONTROL, Carry, Resolver
from mesh.policy.retry import Retry
from mesh.policy.rules import OPERATIONS, RuleBook
from mesh.tracing import SpanRing


class Outgoing:
    """What a caller's request passes on its way out; calling it makes the call.

    `local` answers the calls of this host to itself, `remote` takes the others to the host named; `cache` keeps
    answers.
    """

    def __init__(
        self, rules: RuleBook, resolver: Resolver, local_host: str, *, local: Responder, remote: Carry, clock: Clock,
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
        self._handlers: dict[str, dict[str, Responder]] = {}
        self._changes = rules.changes

    def __call__(self, request: Request) -> Answer:
        """Make a call."""
        if self._changes != self._rules.changes:
            self._changes = self._rules.changes
            self._handlers.clear()
        of_service = self._handlers.get(request.service)
        handler = None if of_service is None else of_service.get(request.operation)
        return (handler or self._composed(request.service, request.operation))(request)

    def _composed(self, service: str, operation: str) -> Responder:
        handler = self._compose(service, operation)
        if service in CONTROL or self._resolver.knows(service):
            of_service = self._handlers.setdefault(service, {})
            if len(of_service) < OPERATIONS:
                of_service[operation] = handler
        return handler

    def _compose(self, service: str, operation: str) -> Responder:
        """Put the onion together, from the wire outward."""
        if service in CONTROL:
            return hops(lambda request: self.carry(request, self._resolver.place_of_control(request)))
        rules = self._rules.of(service, operation)
        handler: Handler = self._passage(service, operation, rules)
        if self.cache is not None:
            handler = self.cache.over(service, operation, rules.cache, handler)
        if rules.fallback is not None:
            handler = fallback(rules.fallback, self.fallbacks, self, handler)
        return hops(handler)

    def _passage(self, service: str, operation: str, rules: Rules) -> Passage:
        """Return the way to an instance, through the policies that are on."""
        guard = avoid = hold = None
        if rules.breaker is not None:
            guard, avoid = self.breakers.guard(rules.breaker, operation), self.breakers.avoid(operation)
        else:
            self.breakers.drop(service, operation)
        if rules.pause is not None:
            hold = Hold(self.pauses, rules.pause.most_s, self._clock)
        return Passage(
            self._resolver.route(rules, avoid, None if hold is None else hold.avoids), self.carry, self._clock,
            guard=guard, hold=hold,
            bulkhead=None if rules.bulkhead is None else self.bulkheads.of(service, rules.bulkhead.calls),
            retry=None if rules.retry is None else self._retry(service, operation, rules.retry),
        )

    def _retry(self, service: str, operation: str, rule: RetryRule) -> Retry:
        """Return when an operation is asked again, within the budget of the whole service."""
        known = self._resolver.idempotent(service, operation) or False

        def idempotent() -> bool:
            nonlocal known
            told = self._resolver.idempotent(service, operation)
            known = known if told is None else told  # that of a host which is gone is remembered
            return known

        budget = self.budgets.of(service, self._rules.of(service, "").retry or rule)
        return Retry(rule, budget, idempotent, self._clock, self._random)

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of the policies that keep some."""
        yield from self.fallbacks.samples()
        yield from self.bulkheads.samples()
        yield from self.pauses.samples()
        yield from self.breakers.samples()
        yield from self.budgets.samples()

    def carry(self, request: Request, host: str) -> Answer:
        """Take a request to a host, past every policy."""
        if request.options:  # they were for this host
            request = request._replace(options=b"")
        return self._local(request) if host == self._host else self._remote(request, host)


def incoming(
    method: Responder, *, service: str, rules: RuleBook, stats: CallStats, spans: SpanRing, host: str, inbox: Inbox,
    guard: DeadlineGuard, clock: Clock, rates: Rates, prompt: Callable[[str], bool] = lambda operation: False,
) -> Responder:
    """Return what a request passes on its way to a cell's method; `prompt` tells of operations that never wait."""
    limits: dict[str, Buckets | None] = {}
    composed_at = rules.changes

    def early(request: Request) -> RateLimited | None:
        nonlocal composed_at
        if composed_at != rules.changes:
            composed_at = rules.changes
            limits.clear()
        operation = request.operation
        limit = limits[operation] if operation in limits else limit_of(operation)
        return None if limit is None else limit.refusal(request, clock.monotonic())

    def limit_of(operation: str) -> Buckets | None:
        rule = rules.of(service, operation).rate
        limit = None if rule is None else rates.of(operation, rule.calls, rule.per_s)
        if len(limits) < OPERATIONS:
            limits[operation] = limit
        return limit

    return Answering(method, inbox=inbox, guard=guard, measure=Measure(stats, spans, host, clock), clock=clock,
                     prompt=prompt, early=early)
