"""Choose the instance that answers a call, from the directory and never by asking.

The directory gives who could answer, in classes; a class is passed over only if everyone in it is avoided, because
their breakers are open. Within it `balance.py` chooses, as the rules of the operation say or as the call wishes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mesh.clock import Clock
from mesh.config import Rules
from mesh.directory import Classes, Directory
from mesh.errors import InvalidArgument, MeshError, Unavailable
from mesh.message import Handler, Reply, Request, encode, field_of
from mesh.policy.balance import HASH, Balancer, Rows
from mesh.policy.options import CallOptions
from mesh.records import InstanceRecord

PATIENCE = 2.0
REGISTRY = "registry"
SUPERVISOR = "supervisor"
CONTROL = frozenset({REGISTRY, SUPERVISOR})
"""Services that are no agents: no directory lists them, and no policy stands in their way."""

Send = Callable[[Request, InstanceRecord], Awaitable[Reply]]
Avoid = Callable[[InstanceRecord], bool]
Held = Callable[[Request, InstanceRecord], bool]


class Resolver:
    """Routes calls by name; a name that is about to be ready is waited for, at most 2 s.

    `settling` tells whether this host has only just joined, so that a service it does not see yet may still come;
    `changed` waits for the directory's next change or the given seconds.
    """

    def __init__(
        self, directory: Directory, local_host: str, clock: Clock, *, settling: Callable[[], bool],
        changed: Callable[[float], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._host = local_host
        self._balancer = Balancer(local_host)
        self._clock = clock
        self._settling = settling
        self._changed = changed

    def knows(self, service: str) -> bool:
        """Tell whether the name was ever configured or announced."""
        return self._directory.is_known(service)

    def instances(self, service: str) -> Sequence[InstanceRecord]:
        """Return the rows of a service, whatever their state."""
        return self._directory.instances(service)

    def idempotent(self, service: str, operation: str) -> bool | None:
        """Tell whether every instance says that an operation may be done twice, None while there is none."""
        rows = self._directory.instances(service)
        return all(row.traits.get(operation, {}).get("idempotent") is True for row in rows) if rows else None

    def in_front_of_control(self, carry: Callable[[Request, str], Awaitable[Reply]]) -> Handler:
        """Return `carry` with the host that a call to a supervisor or the registry goes to."""

        def handle(request: Request) -> Awaitable[Reply]:
            return carry(request, REGISTRY if request.service == REGISTRY else request.to_host or self._host)

        return handle

    def in_front_of(self, send: Send, rules: Rules, avoid: Avoid | None = None, held: Held | None = None) -> Handler:
        """Return `send` with the instance that a call goes to, chosen as the rules say.

        `avoid` tells of an instance that is called only if all others are to be avoided as well, `held` of one that is
        to be avoided by this very call.
        """
        route = _Route(self._balancer, send, rules, avoid, held)
        candidates, always = self._directory.candidates, rules.balance == HASH

        def handle(request: Request) -> Awaitable[Reply]:
            try:
                classes = candidates(request.service, request.to_host)
                if len(classes) == 1 and len(classes[0]) == 1 and not always:
                    row = classes[0][0]
                    return send(request if row.number == 1 else request._replace(to_host=row.place), row)
                return route.chosen(request, classes)
            except Unavailable as error:
                return self._wait(request, route, error)
            except MeshError as error:
                return _refuse(error)

        return handle

    async def _wait(self, request: Request, route: _Route, error: Unavailable) -> Reply:
        """Wait for an instance that starts; answer `error` if there is none or it takes too long."""
        until = min(self._clock.monotonic() + PATIENCE, request.deadline)
        while self._directory.starting(request.service, request.to_host) or self._settling():
            left = until - self._clock.monotonic()
            if left <= 0:  # who has waited in vain is not to come back at once
                return Reply(error=Unavailable(error.message, retry_after=PATIENCE))
            await self._changed(left)
            try:
                answer = route.chosen(request, self._directory.candidates(request.service, request.to_host))
            except Unavailable as newer:
                error = newer
                continue
            except MeshError as refused:
                return Reply(error=refused)
            return await answer
        return Reply(error=error)


class _Route:
    """How the calls of one operation find one of several instances."""

    def __init__(self, balancer: Balancer, send: Send, rules: Rules, avoid: Avoid | None, held: Held | None) -> None:
        self._balancer = balancer
        self._send = send
        self._rules = rules
        self._avoid = avoid
        self._held = held

    def chosen(self, request: Request, classes: Classes) -> Awaitable[Reply]:
        """Send a request to one instance, and count it there until it is answered; raises for one without its key."""
        options = CallOptions.from_wire(request.options)
        strategy = options.strategy or self._rules.balance
        key = _key(request, options, self._rules.hash_by) if strategy == HASH else b""
        row = self._balancer.choose(self._usable(request, classes), strategy, key)
        return self._counted(request._replace(to_host=f"{row.host}#{row.number}"), row)

    def _usable(self, request: Request, classes: Classes) -> Rows:
        """Return the best class without those to avoid; if there are no others anywhere, the best class."""
        avoid, held = self._avoid, self._held
        for rows in classes:
            left = [row for row in rows if not (avoid is not None and avoid(row))
                    and not (held is not None and held(request, row))]
            if left:
                return left
        return classes[0]

    async def _counted(self, request: Request, row: InstanceRecord) -> Reply:
        load = self._balancer.load
        key, items = load.add(row), None
        try:
            reply = await self._send(request, row)
            items = reply.items
            return reply
        finally:
            if items is None:
                load.take(key)
            else:
                items.at_end(lambda _: load.take(key))


def _key(request: Request, options: CallOptions, hash_by: str | None) -> bytes:
    """Return what `hash` chooses by; raises `InvalidArgument` if the call does not say it."""
    if options.key is not None:
        return encode(options.key)
    if hash_by is None:
        raise InvalidArgument(
            f"{request.target} is to be balanced by hash, but of what is not said: give the call a key, or set "
            f"`policies: hash_by:` in config/agents/{request.service}.yaml to the name of an argument", path="key",
        )
    value = field_of(request.body, hash_by)
    if value is None:
        raise InvalidArgument(
            f"{request.target} is balanced by its argument {hash_by!r} (`policies: hash_by:`), which this call does "
            "not have; give it, give the call a key, or set another `balance` for this operation", path=hash_by,
        )
    return encode(value)


async def _refuse(error: MeshError) -> Reply:
    return Reply(error=error)
