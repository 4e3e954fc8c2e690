"""The life of a cell: started, serving, failed, backing off, given up, stopped; as it is desired and within its budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from mesh.errorbus import kind_of
from mesh.errors import MeshError
from mesh.restart import Backoff, Kind, Quarantine, Restarts
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.lifecycle import Lifecycle, State
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.cell.stagger import GAP, PROCESS_GAP
from mesh.supervisor.cell.tenure import Tenure

CHECK_SECONDS = 5.0
TOGETHER = 0.5
"""Seconds; what falls due within this is done in one turn of the loop, so that a host at rest seldom wakes up."""
NEWS_SECONDS = 0.2
HISTORY = 12


class Life:
    """Has the agent of a tenure run for as long as it is desired to, and starts it again within its budget.

    `settled` is set when it has come up, or has shown that it does not; `left_start` whenever it is not starting;
    `next_start` is the moment of the next restart, None while none is due; `turn` is held by who stops, renews or
    reconfigures the agent.
    """

    def __init__(self, tenure: Tenure, house: House) -> None:
        self.lifecycle = Lifecycle(State.STOPPED, "not started yet")
        self.restarts = 0
        self.last_error: str | None = None
        self.next_start: float | None = None
        self.settled = asyncio.Event()
        self.left_start = asyncio.Event()
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self.serving = False
        self.turn = asyncio.Lock()
        self._tenure = tenure
        self._service = tenure.service
        self._name = tenure.name
        self._house = house
        self._budget = Restarts()
        self._desired = True
        self._course: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """Where the cell stands."""
        return self.lifecycle.state

    @property
    def at_rest(self) -> bool:
        """Tell whether it neither runs nor is about to."""
        return self.state is State.STOPPED and self._course is None

    @property
    def failures(self) -> int:
        """How many failures count against the budget now."""
        return self._budget.failures(self._house.clock.monotonic())

    # -- asked for

    def launch(self, *, by_operator: bool = False) -> None:
        """Start the agent, unless it runs or is about to; an operator's start renews the budget.

        One that is stopping starts again when it has stopped; only an operator starts one in backoff or quarantine, or
        one that has just ended for good.
        """
        self._desired = True
        if by_operator:
            self._budget.renew()
            self._house.renewed(self._name)
        if self.state is State.DRAINING:
            self.settled.clear()
        elif self.at_rest:
            self._begin(by_operator)
        elif self.state in (State.STOPPED, State.BACKOFF, State.QUARANTINED) and by_operator:
            self._end()
            self._begin(by_operator)

    def rest(self, reason: str) -> None:
        """Stay stopped, because an operator wants it so."""
        self._desired = False
        self.lifecycle.explain(reason)
        self.settled.set()
        self._house.changed(self._name)

    async def withdraw(self, reason: str) -> None:
        """Say that it drains, and go on taking calls for as long as that news needs to reach every host."""
        async with self.turn:
            if not self.state.serving:
                return
            self._desired = False
            self._to(State.DRAINING, reason)
            self.serving = True
        await self._house.clock.sleep(NEWS_SECONDS)

    async def stop(self, reason: str, grace: float | None = None) -> None:
        """Drain and stop: running calls have `grace` seconds, `stop_s` if it is None, then they are cancelled.

        Returns when all has ended.
        """
        async with self.turn:
            self._desired = False
            starting = self.state is State.STARTING
            self._end()
            if self.state.serving:
                self._to(State.DRAINING, reason)
            if self.state is State.DRAINING:
                self.serving = False
                await self._tenure.drain(grace)
            elif starting:
                self._to(State.STOPPED, reason)
            if self.state in (State.BACKOFF, State.FAILED, State.QUARANTINED):
                self._to(State.STOPPED, reason, by_operator=True)
            await self._tenure.close()
            if self.state is State.DRAINING:
                self._to(State.STOPPED, reason)
            if not self._desired:
                self.settled.set()
            elif self._course is None:  # somebody wanted it back meanwhile
                self._begin(False)

    def give_up(self, reason: str) -> None:
        """Be quarantined where it stands: stopped, because its group is given up."""
        if self.at_rest:
            self._to(State.QUARANTINED, reason)

    def note(self, event: str) -> None:
        """Keep in the history what happened without a change of state."""
        self.history.append({"time": self._house.clock.time(), "state": self.state.value, "reason": event})

    def _begin(self, by_operator: bool) -> None:
        self.settled.clear()
        self._course = self._tenure.task(self._live(by_operator))

    def _end(self) -> None:
        if self._course is not None:
            self._course.cancel()
            self._course = None

    # -- lived

    async def _live(self, by_operator: bool) -> None:
        """Start, and start again after each failure, until it works or the budget is spent."""
        while True:
            self._to(State.STARTING, "starting", by_operator=by_operator)
            self._tenure.incarnation = self._house.next_incarnation()
            try:
                await self._tenure.close()  # who was here before has ended by then
                await self._house.dependencies_ready(self._tenure.spec)
                await self._tenure.come_up(self._tenure.incarnation)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await self._tenure.close()
                delay, _ = self._failed(error)
                self.settled.set()
                if delay is None:
                    self._course = None
                    return
                await self._house.clock.sleep(delay)
                by_operator = False
                self.restarts += 1
                continue
            self._budget.ready()
            self.serve()
            self.settled.set()
            await self._keep_checking()

    def crash(self, error: Exception) -> str:
        """Treat a running agent as crashed: what it answers ends, and it starts again within its budget.

        One that ended as it meant to, and is not to be started again then, stops instead. Returns the error's id on the
        error bus; one that is stopping, or has crashed already, only reports it.
        """
        if not self.state.serving or not self._desired:
            return self._house.report(error, severity="error", service=self._service,
                                      context=self._tenure.context(None))
        self._end()
        if _normal(error) and not self._kind.returns(normal=True):
            self._desired = False
            self._tenure.task(self.stop(self._ended_by_itself(error)))
            return self._tell_of_end(error)
        self._tenure.crashed(error)
        delay, error_id = self._failed(error)
        self._course = self._tenure.task(self._recover(delay))
        self._house.crashed(self._name)
        return error_id

    def _failed(self, error: Exception) -> tuple[float | None, str]:
        """Note an end and decide what follows: seconds until the next start, None for no other, and the error's id."""
        if not self._kind.returns(normal=_normal(error)):
            return None, self._over(error)
        self.last_error = f"{kind_of(error)}: {error}"
        self._to(State.FAILED, self.last_error)
        self._budget.terms = self._tenure.spec.restarts.terms()
        now = self._house.clock.monotonic()
        decision = self._budget.decide(now)
        spent = self._house.failed(self._name, isinstance(decision, Quarantine))
        if spent is not None:
            decision = Quarantine(spent)
        if isinstance(decision, Backoff):
            gap = PROCESS_GAP if self._tenure.isolation == "process" else GAP
            self.next_start = self._house.stagger.moment(now + decision.delay, gap, now)
            decision = Backoff(self.next_start - now, decision.attempt)
            told = (f"restart in {decision.delay:.1f} s (failure {decision.attempt} within "
                    f"{_span(self._budget.terms.window)})")
            self._to(State.BACKOFF, f"{self.last_error}; {told}")
        else:
            told = f"quarantined: {decision.reason}; `mesh agent start {self._name}` tries again"
            self._to(State.QUARANTINED, f"{decision.reason}; last error: {self.last_error}")
        error_id = self._house.report(error, severity="error" if isinstance(decision, Backoff) else "critical",
                                      service=self._service, decision=told,
                                      occasion="error" if isinstance(decision, Backoff) else "quarantine",
                                      context=self._tenure.context(_context(error)))
        return (decision.delay if isinstance(decision, Backoff) else None), error_id

    @property
    def _kind(self) -> Kind:
        return Kind(self._tenure.spec.restart)

    def _over(self, error: Exception) -> str:
        """Note an end after which it is not started again; returns the error's id."""
        self._desired = False
        if _normal(error):
            self._to(State.STOPPED, self._ended_by_itself(error))
            return self._tell_of_end(error)
        self.last_error = f"{kind_of(error)}: {error}"
        self._to(State.FAILED, self.last_error)
        self._to(State.STOPPED, f"{self.last_error}; not started again (restart: {self._kind})")
        return self._house.report(error, severity="error", service=self._service, decision=self._stays_stopped(),
                                  context=self._tenure.context(_context(error)))

    def _tell_of_end(self, error: Exception) -> str:
        return self._house.report(self._ended_by_itself(error), severity="info", service=self._service,
                                  decision=self._stays_stopped(), occasion=None)

    def _ended_by_itself(self, error: Exception) -> str:
        return f"it ended by itself: {error} (restart: {self._kind})"

    def _stays_stopped(self) -> str:
        return f"not started again, as `restart: {self._kind}` says; `mesh agent start {self._name}` does"

    async def _recover(self, delay: float | None) -> None:
        await self._tenure.close()
        if delay is None:
            self._course = None
            return
        await self._house.clock.sleep(delay)
        self.restarts += 1
        await self._live(False)

    async def _keep_checking(self) -> None:
        """Ask the agent how it is, for as long as it runs."""
        while True:
            await self._house.clock.sleep(until_check(self._house.clock.monotonic()))
            await self.recheck()

    async def recheck(self) -> None:
        """Ask the agent how it is, and say so if that changed."""
        try:
            await self._tenure.examine()
        except AgentExit as error:
            self.crash(error)
        self.reconsider()

    def reconsider(self) -> None:
        """Say whether the agent is ready or degraded, by its last check and by who it depends on."""
        if self.state.serving and not self._tenure.moving:
            self.serve()

    def serve(self) -> None:
        """Be ready, or degraded for a reason, and let begin what has waited for that."""
        self._tenure.moving = False
        reason = self._tenure.why_degraded()
        wanted = State.DEGRADED if reason else State.READY
        if wanted is not self.state:
            self._to(wanted, reason or "")
        elif self.lifecycle.explain(reason or ""):
            self._house.changed(self._name)
        self._tenure.release()

    def _to(self, state: State, reason: str, *, by_operator: bool = False) -> None:
        self.lifecycle.to(state, reason, desired_running=self._desired, by_operator=by_operator)
        self.serving = state.serving
        self.history.append({"time": self._house.clock.time(), "state": state.value, "reason": reason})
        self._tenure.moving = False
        self.next_start = self.next_start if state is State.BACKOFF else None
        if state is State.STARTING:
            self.left_start.clear()
        else:
            self.left_start.set()
        if state is State.FAILED:
            self._tenure.inbox.hold()  # what waits may be answered by the next start
        elif state in (State.STOPPED, State.QUARANTINED):
            self._tenure.inbox.release()
        self._house.changed(self._name)


def until_check(now: float) -> float:
    """Return the seconds until the next check, which all cells of a host that started together have at one moment."""
    early = 0.01  # a timer may fire a moment before it is due
    return (now + early + CHECK_SECONDS) // TOGETHER * TOGETHER - now


def _normal(error: Exception) -> bool:
    return isinstance(error, AgentExit) and error.normal


def _context(error: Exception) -> Mapping[str, Any] | None:
    return error.details if isinstance(error, MeshError) else None


def _span(seconds: float) -> str:
    return "a minute" if seconds == 60 else f"{seconds:g} s"
