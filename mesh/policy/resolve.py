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
from mesh.message import Answer, Request, encode, field_of
from mesh.policy.balance import HASH, Balancer, Key, Rows
from mesh.policy.options import CallOptions
from mesh.records import InstanceRecord

PATIENCE = 2.0
REGISTRY = "registry"
SUPERVISOR = "supervisor"
CONTROL = frozenset({REGISTRY, SUPERVISOR})
"""Services that are no agents: no directory lists them, and no policy stands in their way."""

Carry = Callable[[Request, str], Answer]
"""Takes a request to a host."""
Avoid = Callable[[InstanceRecord], bool]
Held = Callable[[Request, InstanceRecord], bool]

Found = tuple[InstanceRecord | MeshError, str | None, Key | None]
"""An instance, or why there is none; the place to tell its host if that is not plain; what counts the call there."""


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

    def place_of_control(self, request: Request) -> str:
        """Return the host that a call to a supervisor or the registry goes to."""
        return REGISTRY if request.service == REGISTRY else request.to_host or self._host

    def route(self, rules: Rules, avoid: Avoid | None = None, held: Held | None = None) -> Route:
        """Return what finds the instances that calls of one operation go to, chosen as the rules say.

        `avoid` tells of an instance that is called only if all others are to be avoided as well, `held` of one that is
        to be avoided by this very call.
        """
        return Route(self, self._directory, self._balancer, rules, avoid, held)

    async def arrival(self, request: Request, error: MeshError, find: Callable[[Request], Found]) -> Found:
        """Wait for an instance that starts; return `error` if none does, a newer one if it takes too long."""
        until = min(self._clock.monotonic() + PATIENCE, request.deadline)
        found: Found = error, None, None
        while isinstance(found[0], Unavailable) and self._may_come(request):
            left = until - self._clock.monotonic()
            if left <= 0:  # who has waited in vain is not to come back at once
                return Unavailable(found[0].message, retry_after=PATIENCE), None, None
            await self._changed(left)
            found = find(request)
        return found

    def _may_come(self, request: Request) -> bool:
        return bool(self._directory.starting(request.service, request.to_host)) or self._settling()


class Route:
    """How the calls of one operation find an instance."""

    def __init__(
        self, resolver: Resolver, directory: Directory, balancer: Balancer, rules: Rules, avoid: Avoid | None,
        held: Held | None,
    ) -> None:
        self.load = balancer.load
        self._resolver = resolver
        self._candidates = directory.candidates
        self._balancer = balancer
        self._rules = rules
        self._avoid = avoid
        self._held = held
        self._always = rules.balance == HASH

    def instance(self, request: Request) -> Found:
        """Return the instance that a call goes to now, one of several counted there until `load.end`."""
        try:
            classes = self._candidates(request.service, request.to_host)
            if len(classes) == 1 and len(classes[0]) == 1 and not self._always:
                row = classes[0][0]
                return row, None if row.number == 1 else row.place, None
            return self._chosen(request, classes)
        except MeshError as error:
            return error, None, None

    async def arrival(self, request: Request, error: MeshError) -> Found:
        """Wait for an instance, as `Resolver.arrival` does, where `instance` found none."""
        return await self._resolver.arrival(request, error, self.instance)

    def _chosen(self, request: Request, classes: Classes) -> Found:
        """Choose one of several; raises for a call without its key."""
        options = CallOptions.from_wire(request.options)
        strategy = options.strategy or self._rules.balance
        key = _key(request, options, self._rules.hash_by) if strategy == HASH else b""
        row = self._balancer.choose(self._usable(request, classes), strategy, key)
        return row, f"{row.host}#{row.number}", self.load.add(row)

    def _usable(self, request: Request, classes: Classes) -> Rows:
        """Return the best class without those to avoid; if there are no others anywhere, the best class."""
        avoid, held = self._avoid, self._held
        for rows in classes:
            left = [row for row in rows if not (avoid is not None and avoid(row))
                    and not (held is not None and held(request, row))]
            if left:
                return left
        return classes[0]


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
