"""Make requests: from a target and arguments to a value or the exception of its error code."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mesh.address import split_target
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, InvalidArgument, MessageTooLarge, UnknownService
from mesh.message import Reply, Request, Responder, encode, replied
from mesh.metrics import Sample, counter
from mesh.stream import Home, Stream
from mesh.tracing import DOING, Span, SpanRing, Trace
from mesh.wire import MAX_BODY

FAILED = counter("mesh_failed_calls_total", "Calls by agents of this host that failed, as the caller saw it.",
                 "service", "code")

DEFAULT_TIMEOUT = 30.0
CREDIT = 1024

CURRENT: ContextVar[Request | None] = ContextVar("mesh_current_request", default=None)
"""The request that the running task answers; what it calls inherits deadline, trace and path."""


TARGETS = 512
"""Operations that are counted one by one per caller; a service name made up for each call must not fill the memory."""


@dataclass(slots=True)
class Edge:
    """What one caller has asked of one operation: how often, how often in vain by error code, and the last of them."""

    service: str
    operation: str
    calls: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    last_error: str | None = None

    @property
    def errors(self) -> int:
        """How often in vain."""
        return sum(self.codes.values())

    def failed(self, code: str) -> None:
        """Count a call that ended with an error."""
        self.last_error = code
        self.codes[code] = self.codes.get(code, 0) + 1


@dataclass(slots=True)
class Calls:
    """The edges of one caller by target; `uncounted` are the calls to targets that found no room."""

    edges: dict[str, Edge] = field(default_factory=dict)
    uncounted: int = 0

    def to(self, target: str) -> Edge:
        """Return the edge to `service.operation`; raises `InvalidArgument` for what is no target."""
        edge = Edge(*split_target(target))
        if len(self.edges) < TARGETS:
            self.edges[target] = edge
        else:
            self.uncounted += 1
        return edge


def failures(callers: Iterable[Calls]) -> Iterator[Sample]:
    """Yield how many calls of these failed, by called service and error; a name that no host knows is no label."""
    counts: Counter[tuple[str, str]] = Counter()
    for caller in callers:
        for edge in caller.edges.values():
            for code, count in edge.codes.items():
                counts["unknown" if code == UnknownService.code else edge.service, code] += count
    for (service, code), count in counts.items():
        yield FAILED.sample(count, service, code)


class Client:
    """The calling side of one agent, or of an operator; `caller` is its name in messages, `calls` outlive it.

    An agent's is `service@host`; it keeps the caller's spans in `spans` and draws there whether a new trace is sampled.
    """

    def __init__(
        self, caller: str, handler: Responder, clock: Clock, calls: Calls | None = None, spans: SpanRing | None = None
    ) -> None:
        self._caller = caller
        self._host = caller.rpartition("@")[2]
        self._handler = handler
        self._clock = clock
        self._calls = Calls() if calls is None else calls
        self._edges = self._calls.edges
        self._spans = spans

    async def request(
        self, target: str, arguments: Mapping[str, Any], timeout: float | None = None, *, to_host: str | None = None,
        options: bytes = b"", sampled: bool = False,
    ) -> Any:
        """Call `service.operation` and return its decoded result; raises the error of the call.

        The deadline is the smaller of `timeout` (seconds) and what is left of the request being answered; without
        either it is 30 s. `to_host` is the place that must answer, `options` what `CallOptions.to_wire` made.
        """
        edge, request, began = self._asked(target, arguments, timeout, to_host, options, sampled, None, 0)
        reply: Reply | None = None
        try:
            answer = self._handler(request)
            reply = answer if isinstance(answer, Reply) else await answer
        finally:
            self._over(edge, request, began, reply)
        return reply.value()

    def stream(
        self, target: str, arguments: Mapping[str, Any], timeout: float | None = None, *, to_host: str | None = None,
        options: bytes = b"", sampled: bool = False, trace: Trace | None = None, home: Home | None = None,
    ) -> Stream:
        """Return the items of `service.operation`, which is asked when the first one is.

        `timeout` is for the opening and then for each wait for an item. A reader that is not where the mesh is gives
        its way there as `home`.
        """
        async def opening() -> Reply:
            return await self.exchange(target, arguments, timeout, to_host=to_host, options=options, sampled=sampled,
                                       trace=trace, credit=CREDIT)

        return Stream(opening, target=target) if home is None else Stream(opening, home, target)

    async def exchange(
        self, target: str, arguments: Mapping[str, Any], timeout: float | None = None, *, to_host: str | None = None,
        options: bytes = b"", sampled: bool = False, trace: Trace | None = None, credit: int = 0,
    ) -> Reply:
        """Call `service.operation` and return the reply as it came; raises only for a call that cannot be made.

        With `credit` it asks for a stream of which so many items may be on their way.
        """
        edge, request, began = self._asked(target, arguments, timeout, to_host, options, sampled, trace, credit)
        reply: Reply | None = None
        try:
            reply = await replied(self._handler(request))
        finally:
            self._over(edge, request, began, reply)
        return reply

    def _asked(
        self, target: str, arguments: Mapping[str, Any], timeout: float | None, to_host: str | None, options: bytes,
        sampled: bool, trace: Trace | None, credit: int,
    ) -> tuple[Edge, Request, float]:
        """Return a request, counted on its edge, and when it was made."""
        edge = self._edges.get(target)
        if edge is None:
            edge = self._calls.to(target)
        body = encode(arguments, name="arguments")
        if len(body) > MAX_BODY:
            raise MessageTooLarge(f"the arguments of {target} are {len(body)} bytes, the limit is {MAX_BODY}",
                                  size=len(body), limit=MAX_BODY)
        now = self._clock.monotonic()
        parent = CURRENT.get()
        if parent is None:
            request = Request(edge.service, edge.operation, body, _deadline(target, None, timeout, now),
                              trace or self._root(sampled), self._caller, (), to_host, "", credit, options)
        else:
            request = Request(edge.service, edge.operation, body, _deadline(target, parent, timeout, now),
                              parent.trace.child(), self._caller, (*parent.path, parent.target), to_host, "", credit,
                              options)
        edge.calls += 1
        return edge, request, now

    def _over(self, edge: Edge, request: Request, began: float, reply: Reply | None) -> None:
        """Take note of how a call ended; without a reply its caller gave up."""
        if reply is None or reply.error is not None:
            if reply is not None and reply.error is not None:
                reply.error.asked = request.target
            edge.failed(_ended(reply) or "")
            self._keep(request, began, reply)
        elif request.trace.sampled or reply.fallback:
            if reply.items is None:
                self._keep(request, began, reply)
            else:  # the caller's span lasts as long as the stream
                reply.items.at_end(lambda error: self._keep(request, began, Reply(error=error)))

    def _root(self, sampled: bool) -> Trace:
        """Return the trace of a call that no request led to: what the agent does just now, or a new one."""
        doing = DOING.get()
        if doing is not None and doing.trace is not None:
            return doing.trace.child()
        return Trace.new(sampled=sampled) if self._spans is None else self._spans.root(sampled=sampled)

    def _keep(self, request: Request, began: float, reply: Reply | None) -> None:
        """Keep the caller's span; without a reply the call was cancelled, or could not be made."""
        if self._spans is None:
            return
        trace, duration = request.trace, self._clock.monotonic() - began
        self._spans.add(Span(
            trace.trace_id, trace.span_id, trace.parent_id, request.service, request.operation, self._host,
            self._clock.time() - duration, duration, _ended(reply), "call", request.caller, sampled=trace.sampled,
            attempts=1 if reply is None else reply.attempts, fallback="" if reply is None else reply.fallback,
        ))


def _ended(reply: Reply | None) -> str | None:
    """Return the code of the error a call ended with; without a reply its caller gave up."""
    if reply is None:
        return "cancelled"
    return None if reply.error is None else reply.error.code


def _deadline(target: str, parent: Request | None, timeout: float | None, now: float) -> float:
    if timeout is not None and not 0 < timeout < math.inf:
        raise InvalidArgument(f"timeout of {target} is {timeout!r}; give seconds above zero", path="timeout")
    if parent is None:
        return now + (DEFAULT_TIMEOUT if timeout is None else timeout)
    if parent.deadline <= now:
        raise DeadlineExceeded(f"{target} was not called: the deadline of {parent.target} has passed", began="no")
    return parent.deadline if timeout is None else min(parent.deadline, now + timeout)


def current_trace() -> Trace | None:
    """Return the trace that the running task is part of, None where a call would begin a new one."""
    request = CURRENT.get()
    if request is not None:
        return request.trace
    doing = DOING.get()
    return None if doing is None else doing.trace


def running() -> dict[str, str | None]:
    """Return service, operation and trace id of what the running task does, for its lines in the log."""
    trace = current_trace()
    found = CURRENT.get() or DOING.get()
    if found is None:
        return {}
    return {"service": found.service, "operation": found.operation,
            "trace_id": None if trace is None else trace.trace_id.hex()}


def remaining(clock: Clock) -> float | None:
    """Return the seconds left to answer the request being handled, None outside of one."""
    request = CURRENT.get()
    return None if request is None else max(0.0, request.deadline - clock.monotonic())
