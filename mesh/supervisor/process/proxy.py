"""A tenancy in a process of its own, as the cell has it: everything goes down the connection of that process.

Bodies pass undecoded both ways. What the agent is asked by its cell (to load, to set up, how it is, to tear down)
travels as calls of the reserved service `supervisor`; the answer is a map with the `value`, or with the `failure` as
the process has described it. A process that ends takes its calls with it; who waits for them is told how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any

from mesh import wire
from mesh.address import instance_name
from mesh.client import Client
from mesh.config import AgentSpec
from mesh.errorbus import ErrorDetail, Passed
from mesh.errors import ConfigError, MeshError, Unavailable, Unreachable
from mesh.message import Event, Reply, Request, decode, replied
from mesh.policy.measure import CallStats
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.cell.tenancy import Landlord, Offer
from mesh.supervisor.loop.doubt import Sight, Silence
from mesh.supervisor.process.nursery import SUPERVISOR, Nursery
from mesh.supervisor.process.output import Output
from mesh.supervisor.process.process import Process, words
from mesh.transport.session import Session

GOODBYE = 1.0
GRACE = 1.0
LOOK = 1.0
WARN_SHARE = 0.8
CHECK_PATIENCE = 5.0
PING_SECONDS = 86400.0
WHERE_SECONDS = 0.5


class Proxy:
    """The agent of one start of a cell, in a process of its own."""

    def __init__(
        self, spec: AgentSpec, incarnation: int, nursery: Nursery, landlord: Landlord, stats: CallStats,
        number: int = 1,
    ) -> None:
        self.service = spec.service
        self.number = number
        self.name = instance_name(spec.service, number)
        self.incarnation = incarnation
        self.landlord = landlord
        self._stats = stats
        self._billed = 0.0
        self._memory_mb: float | None = None
        self._told = False
        self._spec = spec
        self._nursery = nursery
        self._clock = nursery.clock
        output = Output(nursery.logs / f"agent-{self.name}.out", nursery.clock, self._dropped)
        self._process = Process(output, nursery.clock)
        self._connected: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._session: Session | None = None
        self._settings: dict[str, Any] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[Any]] = set()
        self._warned = False
        self._closing = False
        self._stacks = ""

    @property
    def pid(self) -> int | None:
        """The number of the process, None when there is none."""
        return self._process.pid

    @property
    def memory_mb(self) -> float | None:
        """Its share of memory in MiB, as it was at most a second ago."""
        return self._memory_mb

    # -- life

    async def load(self) -> Offer:
        """Start the process and have it load the agent's class."""
        await self._process.start(lambda stacks: self._nursery.expect(self, self._spec, stacks))
        either: list[asyncio.Future[Any]] = [self._connected, self._process.ended]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._connected.done():
            raise self._exit()
        self._session = self._connected.result()
        return Offer.from_wire(await self._ask("load", self._spec.limits.start_s + GRACE))

    async def set_up(self) -> None:
        """Have the agent bound and set up."""
        self._settings = await self._ask("set_up", self._spec.limits.start_s + GRACE)
        await self._look_at_memory()
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name=f"process of {self.name}")

    def arrived(self, session: Session) -> None:
        """Be given the connection of the process."""
        if not self._connected.done():
            self._connected.set_result(session)

    def settings(self) -> dict[str, Any] | None:
        """Return the settings the agent was bound with."""
        return self._settings

    async def accept(self, settings: Mapping[str, Any]) -> None:
        """Have the process read the settings as the agent's class would; one that was not loaded is for this alone."""
        if self._session is None:
            await self.load()
        try:
            await self._ask("accept", self._spec.limits.start_s + GRACE, settings=dict(settings))
        except Passed as error:
            raise ConfigError(error.detail.message) from None

    async def reconfigure(self, settings: Mapping[str, Any]) -> bool:
        """Have the agent take over new settings where it runs."""
        told = await self._ask("reconfigure", self._spec.limits.start_s + GRACE, settings=dict(settings))
        self._settings = told["settings"]
        return bool(told["taken"])

    async def check(self) -> str | None:
        """Ask the agent how it is."""
        try:
            reason: str | None = await self._ask("check", CHECK_PATIENCE + GRACE)
        except AgentExit:
            self._told = True
            raise
        except MeshError as error:  # the process is there and does not answer
            return f"check() was not answered: {error}"
        return reason

    async def retire(self) -> None:
        """Have the process finish what it has begun of its own accord; one that is gone has nothing to finish."""
        with contextlib.suppress(MeshError):
            await self._ask("retire", self._spec.limits.stop_s + GRACE)

    async def close(self) -> None:
        """Have the agent torn down and its process end; one that does not is ended."""
        self._closing = True
        if self._watching is not None:
            self._watching.cancel()
        if self._process.pid is not None:
            await self._end()
        self._nursery.forget(self)
        self.landlord.stragglers.reported([])
        for task in self._telling:
            task.cancel()

    async def _end(self) -> None:
        if self._session is None:  # it never came so far that it could be asked
            await self._process.stacks()
            await self._process.kill("ended while it started")
            return
        try:
            await self._ask("tear_down", self._spec.limits.stop_s + GRACE)
        except AgentExit:
            return
        except MeshError as error:
            stacks = await self._process.stacks()
            await self.landlord.report(
                f"the process of {self.name} did not end when it was told to and was ended: {error}",
                severity="warning", operation="teardown", context={"stacks": stacks},
            )
            await self._process.kill("ended by its host")
            return
        self._process.release()
        await asyncio.wait([self._process.ended], timeout=GOODBYE)
        await self._process.kill("ended by its host")  # threads that do not end hold up the end of an interpreter

    async def where(self) -> str | None:
        """Have the process say where its agent stands; one that cannot say it is looked into from outside."""
        try:
            told: str | None = await self._ask("where", WHERE_SECONDS)
        except (MeshError, AgentExit):
            self._stacks = await self._process.stacks()
            file = self._spec.file
            found = re.search(rf'File "{re.escape(str(file))}", line (\d+) in (\S+)', self._stacks)
            told = None if found is None else f"{found[2]}() at {'/'.join(file.parts[-2:])}:{found[1]}"
        return told

    # -- calls and events

    def prompt(self, operation: str) -> bool:
        """Tell that every operation is waited for: its process is another."""
        return False

    async def execute(self, request: Request) -> Reply:
        """Pass a request on and its reply back, neither of them decoded."""
        session = self._session
        if session is None:
            return Reply(error=Unavailable(f"{self.name} is not running", retry_after=1.0))
        reply = await replied(session.exchange(request))
        return reply if reply.error is None or session.ended is None else await self._cut_short(request, reply)

    async def _cut_short(self, request: Request, reply: Reply) -> Reply:
        """Say of a call that ended with its process how that ended."""
        if not isinstance(reply.error, Unreachable):
            return reply
        began = reply.error.details.get("began", "unknown")
        known = "the call had not begun" if began == "no" else "whether the call did its work is unknown"
        return Reply(error=Unreachable(f"{request.target}: {await self._known_end()}; {known}", began=began))

    def hear(self, event: Event) -> None:
        """Pass an event on."""
        if self._session is not None:
            self._session.send_event(wire.event(event))

    async def _ask(self, operation: str, limit: float, **arguments: Any) -> Any:
        """Have the process do something and return its value; raises its failure, or `AgentExit` if it has ended."""
        session = self._session
        if session is None:
            raise Unavailable(f"{self.name} is not running", retry_after=1.0)
        reply = await Client(f"{SUPERVISOR}@{self._nursery.host}", session.exchange, self._clock).exchange(
            f"{SUPERVISOR}.{operation}", arguments, limit
        )
        if reply.error is not None:
            if session.ended is not None:
                await self._known_end()
                raise self._exit()
            raise reply.error
        told: Mapping[str, Any] = decode(reply.body)
        if "failure" in told:
            raise Passed(ErrorDetail.model_validate(told["failure"]))
        return told["value"]

    # -- how it is

    async def _watch(self) -> None:
        """Look after a running process until it ends, and tell the cell of the end that it did not ask for."""
        silence = Silence(self._spec.limits.stuck_s, LOOK, self._clock.monotonic())
        asked = self._ping()
        try:
            while not self._process.ended.done():
                await asyncio.wait([self._process.ended], timeout=LOOK)
                await self._look_at_memory()
                if self._process.ended.done():
                    break
                if not asked.done():
                    await self._judge(silence.look(self._clock.monotonic()))
                    continue
                silence.answered(self._clock.monotonic())
                await self._heed(asked)
                asked = self._ping()
        finally:
            asked.cancel()
            with contextlib.suppress(MeshError, asyncio.CancelledError):
                await asked
        if not self._closing and not self._told:
            self.landlord.gone(self._exit())

    def _ping(self) -> asyncio.Future[Any]:
        """Ask whether its loop turns; how long the answer may take is decided by looks, not by a deadline."""
        return asyncio.ensure_future(self._ask("ping", PING_SECONDS))

    async def _judge(self, sight: Sight) -> None:
        """Follow what it means that there is no answer; end a process whose loop gave none for `stuck_s`."""
        if sight is Sight.LOOKS_DEAD:
            self._nursery.watcher.looks_dead(self.service)
        elif sight is Sight.DEAD or (sight is Sight.IN_QUESTION and not self._nursery.doubts()):
            await self._end_for("its loop did not turn for "
                                f"{self._spec.limits.stuck_s:g} s (limits: stuck_s)")

    async def _heed(self, asked: asyncio.Future[Any]) -> None:
        """Take what an answer says; end a process whose connection is lost."""
        error = asked.exception()
        if error is not None:
            await self._end_for(str(error))
            return
        told = asked.result()
        self.landlord.stragglers.reported(told["stragglers"])
        used = float(told["loop_s"])
        self._stats.loop_seconds += used - self._billed
        self._billed = used

    async def _end_for(self, why: str) -> None:
        self._stacks = await self._process.stacks()
        await self._process.kill(f"ended by its host, because {why}")

    async def _look_at_memory(self) -> None:
        used = self._memory_mb = await self._process.memory_mb()
        most = self._spec.limits.memory_mb
        if used is None or most is None:
            return
        if used > most:
            await self._process.kill(f"ended by its host, because it used {used:.0f} MiB of memory and may use "
                                     f"{most} (limits: memory_mb)")
        elif used > most * WARN_SHARE and not self._warned:
            self._warned = True
            await self.landlord.report(
                f"{self.name} uses {used:.0f} MiB of memory; above {most} it is restarted (limits: memory_mb)",
                severity="warning",
            )
        elif used < most * WARN_SHARE:
            self._warned = False

    async def _known_end(self) -> str:
        """Return how the process ended, in words; a connection that is lost is followed by that."""
        await asyncio.wait([self._process.ended], timeout=GRACE)
        return str(self._exit())

    def _exit(self) -> AgentExit:
        if not self._process.ended.done():
            return AgentExit(f"the connection to the process of {self.name} is lost")
        how = self._process.ended.result()
        told = {"output": self._process.output.tail, "stacks": self._stacks}
        return AgentExit(f"the process of {self.name} ended: {how}", **({"exit_code": 0} if how == words(0) else {}),
                         **{name: text for name, text in told.items() if text})

    def _dropped(self, count: int) -> None:
        text = (f"{self.name} prints too much: {count} bytes were left out of {self._process.output.path}; "
                "use self.log, or print less")
        task = asyncio.get_running_loop().create_task(self.landlord.report(text, severity="warning"))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
