"""A command's connection to the mesh: one link, as a peer of kind `operator`, to the first host that answers.

That host forwards whatever is for another one, so the registry and the other hosts may be gone. The candidates are
dialled in order, each with a short head start over the next; the first that welcomes us is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from mesh import __version__, wire
from mesh.cli.candidates import OPERATOR, candidates
from mesh.cli.scope import Scope
from mesh.client import Client
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.errors import DeadlineExceeded, MeshError, MeshUnreachable
from mesh.message import Event, Reply, Request, replied
from mesh.metrics import Traffic
from mesh.policy.options import PLAIN, CallOptions
from mesh.stream import Stream
from mesh.tracing import Trace
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.link import LinkCallbacks, Peer
from mesh.transport.pending import Pending
from mesh.transport.pool import Pool

HEAD_START = 0.1
CONNECT_LIMIT = 2.5
CALL_LIMIT = 5.0

OnEvent = Callable[[Event], None]
OnLost = Callable[[str], None]


class Operator:
    """The mesh as one command sees it; `host` is the host it talks to.

    `timeout` bounds the whole command in seconds, None only each call. `interest` are the topic patterns whose events
    `on_event` gets; `on_lost` hears why the connection ended, and `missed` how many events came too fast to be sent.
    """

    def __init__(
        self, config: MeshConfig, *, timeout: float | None, interest: Iterable[str] = (),
        on_event: OnEvent = lambda event: None, on_lost: OnLost = lambda reason: None,
        missed: Callable[[int], None] = lambda count: None, clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.host = ""
        self._clock = clock or Clock()
        self._until = None if timeout is None else self._clock.monotonic() + timeout
        self._interest = tuple(interest)
        self._on_lost = on_lost
        self._dialling: set[str] = set()
        self._found: list[str] = []
        self._news = asyncio.Event()
        self._incarnation = int(self._clock.time() * 1000)
        self._tried = candidates(config)  # may refuse: nothing is open yet
        self._context = profile.new_context()
        self._deadlines = Deadlines(self._clock)
        self._pool = Pool(
            self._context, self._tried.own, self._identity, Pending(self._deadlines),
            LinkCallbacks(self._linked, lambda event, _: on_event(event), lambda _, count: missed(count),
                          lambda *_: None),
            self._clock, Traffic(),
        )
        self._client = Client(OPERATOR, self._send, self._clock)

    # -- calls

    async def ask(self, target: str, arguments: Mapping[str, Any] | None = None, *, host: str | None = None,
                  limit: float | None = None) -> Any:
        """Return what `service.operation` answers, on `host` if it is given; raises the error of the call."""
        return (await self.exchange(target, arguments or {}, host=host, limit=limit)).value()

    async def exchange(self, target: str, arguments: Mapping[str, Any], *, host: str | None = None,
                       limit: float | None = None, trace: Trace | None = None, options: CallOptions = PLAIN) -> Reply:
        """Return the reply as it came; raises only for a call that cannot be made."""
        return await self._client.exchange(target, arguments, self._seconds(target, limit),
                                           to_host=host or options.to_host, options=options.to_wire(), trace=trace)

    def stream(self, target: str, arguments: Mapping[str, Any], timeout: float | None = None, *,
               trace: Trace | None = None, options: CallOptions = PLAIN) -> Stream:
        """Return the items of `service.operation`; `timeout` is for the opening, then for each wait for an item."""
        return self._client.stream(target, arguments, timeout or CALL_LIMIT, to_host=options.to_host,
                                   options=options.to_wire(), trace=trace)

    async def timed(self, target: str, arguments: Mapping[str, Any], *, trace: Trace | None = None,
                    options: CallOptions = PLAIN) -> tuple[Reply, float]:
        """Return the reply and the milliseconds it took; an error of the call, made or not, is in the reply."""
        began = self._clock.monotonic()
        try:
            reply = await self.exchange(target, arguments, trace=trace, options=options)
        except MeshError as error:
            reply = Reply(error=error)
        return reply, round((self._clock.monotonic() - began) * 1000, 1)

    async def ask_each(self, target: str, hosts: Iterable[str], arguments: Mapping[str, Any] | None = None, *,
                       limit: float | None = None) -> dict[str, Any]:
        """Ask several hosts at once; a host that does not answer has its `MeshError` in the place of the value."""
        asked = list(hosts)
        answers = await asyncio.gather(*(self._attempt(target, arguments, host, limit) for host in asked))
        return dict(zip(asked, answers, strict=True))

    async def directory(self) -> dict[str, Any]:
        """Return hosts and instances as the connected host knows them."""
        table: dict[str, Any] = await self.ask("supervisor.directory")
        return table

    async def _attempt(self, target: str, arguments: Mapping[str, Any] | None, host: str, limit: float | None) -> Any:
        try:
            return await self.ask(target, arguments, host=host, limit=limit)
        except MeshError as error:
            return error

    async def _send(self, request: Request) -> Reply:
        return await replied(self._pool.exchange(request, self.host))

    def _seconds(self, what: str, limit: float | None) -> float:
        """Return how long a call may take: `limit`, and no more than is left of the command's time."""
        if self._until is None:
            return limit or CALL_LIMIT
        left = self._until - self._clock.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{what} was not called: the time of this command is over (--timeout)", began="no")
        return left if limit is None else min(limit, left)

    # -- connection

    async def connect(self) -> None:
        """Connect to the first host that answers; raises `MeshUnreachable` that tells what each was found to be."""
        self.host, self._found = "", []
        self._hang_up(list(self._pool.links))
        waiting = list(self._tried.peers)
        until = self._clock.monotonic() + self._connect_seconds()
        while not self.host:
            if waiting and waiting[0].host not in self._dialling:
                self._dial(waiting.pop(0))
            left = until - self._clock.monotonic()
            if left <= 0 or not (waiting or self._dialling):
                raise self._unreachable()
            await self._wait(min(left, HEAD_START) if waiting else left)
            self._hang_up([host for host in self._pool.links if host not in self._dialling and host != self.host])
        self._hang_up([host for host in self._pool.links if host != self.host])

    def close(self) -> None:
        """End the connection and everything that belongs to it; nobody is told that it is lost."""
        self.host = ""
        self._pool.close()
        self._deadlines.close()
        self._context.term()

    def _connect_seconds(self) -> float:
        return CONNECT_LIMIT if self._until is None else min(CONNECT_LIMIT, self._until - self._clock.monotonic())

    async def _wait(self, limit: float) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._news.wait()

    def _dial(self, peer: Peer) -> None:
        self._dialling.add(peer.host)
        self._pool.connect(peer)

    def _hang_up(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            self._dialling.discard(host)
            self._pool.drop(host, "this command needs one connection only")

    def _linked(self, host: str, up: bool, reason: str) -> None:
        if host in self._dialling:
            self._dialling.discard(host)
            if up and not self.host:
                self.host = host
            elif not up:
                self._found.append(f"{host}: {reason}")
            self._news.set()
        elif host == self.host and not up:
            self._on_lost(reason)

    def _identity(self) -> wire.Hello:
        return wire.Hello(self.config.mesh, "operator", OPERATOR, self._incarnation, self._interest, __version__)

    def _unreachable(self) -> MeshUnreachable:
        silent = [f"{host}: no answer from {link.at.endpoint}" for host, link in self._pool.links.items()
                  if host in self._dialling]
        told = "; ".join([*self._found, *silent, *self._tried.left_out])
        self._hang_up(list(self._pool.links))
        return MeshUnreachable(
            f"no host of mesh {self.config.mesh!r} answers ({told})\n"
            "start it with `mesh up`; if it runs elsewhere, check the addresses and ports in config/hosts.yaml"
        )


@asynccontextmanager
async def connected(
    scope: Scope, *, interest: Iterable[str] = (), on_event: OnEvent = lambda event: None,
    on_lost: OnLost = lambda reason: None, missed: Callable[[int], None] = lambda count: None,
) -> AsyncIterator[Operator]:
    """Give a command its connection, and end it afterwards."""
    operator = Operator(scope.config(), timeout=scope.timeout, interest=interest, on_event=on_event, on_lost=on_lost,
                        missed=missed)
    try:
        await operator.connect()
        yield operator
    finally:
        operator.close()
