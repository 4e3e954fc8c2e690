"""The bounded inbox in front of a cell: so many at a time, so many waiting, the rest told at once.

Callers take turns, whoever has more calls waiting has not more turns (fair queueing, Nagle, RFC 970), and a caller may
have eight times as many calls waiting as there are places left (dynamic thresholds, Choudhury and Hahne, 1998): alone
it has nearly all, and however many flood the inbox there is a place for one who does not.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from mesh.clock import Clock
from mesh.errors import MeshError, Overloaded
from mesh.message import Answer, Items, Reply, Request, replied
from mesh.metrics import Latency, Sample, counter, gauge, histogram
from mesh.policy.origin import identity
from mesh.policy.shed import SHED, Shed
from mesh.policy.turn import Turn
from mesh.tracing import WAITED

BYTES = 16 * 1024 * 1024
RETRY_AFTER = 0.1
SHARE = 8
EACH = 16

WAITING = gauge("mesh_inbox_waiting", "Calls that wait for their turn.", "service")
RUNNING = gauge("mesh_inbox_running", "Calls the cell works on.", "service")
HELD = gauge("mesh_inbox_bytes", "Arguments of the calls that run and wait.", "service")
WAIT = histogram("mesh_inbox_wait_seconds", "How long calls that had to wait waited for their turn.", "service")
FULL = counter("mesh_inbox_refused_total", "Calls refused because the inbox, or its caller's part of it, was full.",
               "service")

class Place(Protocol):
    """What waits for its turn: a task, by the future that it awaits, or a call that needs none."""

    def done(self) -> bool:
        """Tell whether nobody waits any more."""

    def set_result(self, result: None, /) -> None:
        """Be given the turn."""

    def set_exception(self, error: MeshError, /) -> None:
        """Be told that there will be none."""


Begin = Callable[[Request, float], Answer]
"""Answers a call that has its turn, and that arrived at a moment (monotonic seconds)."""
Patience = Callable[[str], float | None]


class Queued:
    """A call that is over as soon as it has begun: it has no task, only its answer."""

    __slots__ = ("_begin", "_caller", "_inbox", "_joined", "_loop", "_request", "answer")

    def __init__(self, inbox: Inbox, request: Request, begin: Begin) -> None:
        self._inbox = inbox
        self._request = request
        self._begin = begin
        self._caller = identity(request)
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Reply] = self._loop.create_future()
        self.answer.add_done_callback(self._over)
        self._joined = inbox.join(request, self._caller, self)

    def done(self) -> bool:
        """Tell whether its caller has given up."""
        return self.answer.done()

    def set_result(self, result: None, /) -> None:
        """Be given the turn; it is begun on a stack of its own, however many have theirs one after another."""
        self._loop.call_soon(self._turn)

    def set_exception(self, error: MeshError, /) -> None:
        """Be told that there will be none."""
        self.answer.set_result(Reply(error=error))

    def _turn(self) -> None:
        now = self._inbox.waited(self._joined)
        if self.answer.done():
            self._inbox.end(now)
            return
        WAITED.set((self._request.trace.span_id, now - self._joined))
        answer = self._begin(self._request, self._joined)
        if isinstance(answer, Reply):
            self.answer.set_result(answer)
        else:  # it has failed, which is yet to be told
            telling = self._loop.create_task(replied(answer))
            telling.add_done_callback(self._told)

    def _told(self, telling: asyncio.Task[Reply]) -> None:
        if not self.answer.done():
            self.answer.set_result(telling.result())

    def _over(self, answer: asyncio.Future[Reply]) -> None:
        self._inbox.leave(self._caller, self, len(self._request.body))


class Inbox:
    """Requests that run and wait. Bodies over 16 MiB in all are refused too; a single larger one is let in alone.

    A stream has a place until it is open; as many as may wait may be open.
    While it is held, nothing more begins: what comes waits, until it is released. With `turn` no more begins in a turn
    of the loop than that has time for; `patience` says how many seconds calls of an operation may wait in a queue that
    stands, None for as long as it takes.
    """

    def __init__(
        self, *, waiting: int, concurrency: int, clock: Clock | None = None, turn: Turn | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.running = 0
        self.streams = 0
        self.turn = turn
        self.shed = Shed()
        self.patience = patience
        self.refused = 0
        self._clock = clock or Clock()
        self._waited: Latency | None = None
        self._most_waiting = waiting
        self._concurrency = concurrency
        self._lanes: OrderedDict[str, dict[Place, float]] = OrderedDict()
        self._count = 0
        self._begun = 0
        self._bytes = 0
        self._held = False
        self._given_back: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return self._count

    def samples(self, service: str) -> Iterator[Sample]:
        """Yield the figures of a service's inbox."""
        yield WAITING.sample(self._count, service)
        yield RUNNING.sample(self.running, service)
        yield HELD.sample(self._bytes, service)
        yield FULL.sample(self.refused, service)
        if self.patience is not None:
            yield SHED.sample(self.shed.refused, service)
        if self._waited is not None:
            yield WAIT.spread(self._waited, service)

    # -- a call, from its arrival to its end

    def take(self, request: Request) -> None:
        """Count the arguments of a call that was let in."""
        self._bytes += len(request.body)

    def give(self, request: Request) -> None:
        """Count them no longer: the call has ended."""
        self._bytes -= len(request.body)

    def begin(self) -> bool:
        """Take a place for a call; returns False if it has to wait for one."""
        if not self._may_begin():
            return False
        self.running += 1
        return True

    def queue(self, request: Request, begin: Begin) -> asyncio.Future[Reply]:
        """Have a call wait for its turn that never waits afterwards; returns its answer, which may be cancelled."""
        self.take(request)
        return Queued(self, request, begin).answer

    def end(self, began: float) -> None:
        """Give a place back; the call had it since `began`. Of the first ones, then of each sixteenth, the time counts.
        """
        self._begun += 1
        if self._begun < EACH or not self._begun % EACH:
            self.shed.ended(self._clock.monotonic() - began)
        if not self._given_back or not self._has_given_back():
            self._release()

    def give_back(self, task: asyncio.Task[object]) -> None:
        """Free the place of a call that was cancelled and does not end; `task` answers it."""
        self._given_back.add(task)
        self._release()

    def _has_given_back(self) -> bool:
        """Tell whether the running task's place is free already."""
        task = asyncio.current_task()
        if task not in self._given_back:
            return False
        self._given_back.discard(task)
        return True

    def opened(self, items: Items) -> None:
        """Count a stream until it ends; it is in nobody's way meanwhile."""
        self.streams += 1
        items.at_end(self._closed)

    def _closed(self, _: object) -> None:
        self.streams -= 1

    def row(self) -> dict[str, float]:
        """Return what it does now, for `mesh describe`."""
        return {"waiting": self._count, "running": self.running, "full": self.refused, **self.shed.row()}

    # -- who is let in

    def refusal(self, request: Request) -> Overloaded | None:
        """Return why a request is not let in now, None if it is; nothing is begun for it either way."""
        count, size = self._count, len(request.body)
        retry_after = RETRY_AFTER
        if count >= self._most_waiting and (count or self._held or self.running >= self._concurrency):
            found = f"{count} calls wait already"
        elif self._bytes and self._bytes + size > BYTES:
            found = f"{self._bytes >> 20} MiB of arguments wait already"
        elif request.credit and self.streams >= self._most_waiting:
            found = f"{self.streams} streams are open already"
        elif not count:
            return None
        else:
            caller = identity(request)
            own = len(self._lanes.get(caller, ()))
            if own >= SHARE * (self._most_waiting - count):
                found = f"{own} calls of {caller} wait already"
            else:
                wait_s = None if self.patience is None or self._held else self.patience(request.operation)
                if wait_s is None:
                    return None
                ahead = min(count, (own + 1) * len(self._lanes))
                retry_after = self.shed.refuses(ahead, self._clock.monotonic(), request.deadline, wait_s)
                if not retry_after:
                    return None
                return Overloaded(f"{request.service} takes no more calls now: {ahead} go first, this one would wait "
                                  f"too long; try again in {retry_after:.3g} s", retry_after=retry_after)
        self.refused += 1
        return Overloaded(f"{request.service} takes no more calls now: {found}; try again later",
                          retry_after=retry_after)

    def _may_begin(self) -> bool:
        """Tell whether a call that has just come need not wait."""
        if self.running >= self._concurrency or self._count or self._held:
            return False
        return self.turn is None or self.turn.has_time() or not self._most_waiting

    # -- those who wait

    async def turn_of(self, request: Request) -> float:
        """Return, when there is a place, the moment it is then; raises what those are told who will have none.

        How long they waited is counted of those who gave up, too.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        caller = identity(request)
        began = self.join(request, caller, place)
        now = began
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._release()  # the place was given just before the caller gave up
            else:
                self._leave(caller, place)
            raise
        finally:
            now = self.waited(began)
        return now

    def waited(self, joined: float) -> float:
        """Note that somebody who joined at a moment waits no longer; returns the moment it is now."""
        now = self._clock.monotonic()
        if self._waited is None:
            self._waited = Latency()
        self._waited.observe(now - joined)
        return now

    def join(self, request: Request, caller: str, place: Place) -> float:
        """Have a place wait behind those of its caller; returns the moment it is now."""
        now = self._clock.monotonic()
        if not self._count:
            self.shed.begins(now, self.running)
        lane = self._lanes.get(caller)
        if lane is None:
            lane = self._lanes[caller] = {}
        sheds = self.patience is not None and self.patience(request.operation) is not None
        lane[place] = request.deadline if sheds else math.inf
        self._count += 1
        if self.turn is not None and not self._held and self.running < self._concurrency:
            self.turn.wait(self)
        return now

    def leave(self, caller: str, place: Place, size: int) -> None:
        """Take note that a call that was `queue`d is over, also if its turn has not come."""
        self._bytes -= size
        self._leave(caller, place)

    def _leave(self, caller: str, place: Place) -> None:
        lane = self._lanes.get(caller)
        if lane is not None and place in lane:  # else a place that came free just now has passed it over already
            del lane[place]
            self._count -= 1
            if not lane:
                del self._lanes[caller]

    def _next(self) -> Place | None:
        """Take the first of the caller whose turn it is out of the queue."""
        while self._lanes:
            caller, lane = self._lanes.popitem(last=False)
            place = next(iter(lane))
            del lane[place]
            self._count -= 1
            if lane:
                self._lanes[caller] = lane
            if not place.done():
                return place
        return None

    def _hand(self, place: Place) -> None:
        now = self._clock.monotonic()
        place.set_result(None)
        if self.shed.turn(now) and not self._held:
            self._tell_late(now)

    def _tell_late(self, now: float) -> None:
        """Tell those whose turn, as it has turned out, would come too late, while there is time left."""
        each, least = self.shed.gap * len(self._lanes), now + self.shed.gap + self.shed.took
        for caller, lane in list(self._lanes.items()):
            late = [place for index, (place, deadline) in enumerate(lane.items()) if least + index * each > deadline]
            for place in late:
                self._leave(caller, place)
                if not place.done():
                    self.shed.refused += 1
                    place.set_exception(Overloaded("turns come up more slowly than it seemed: that of this call would "
                                                   "come too late; try again later", retry_after=RETRY_AFTER))

    # -- places

    def resize(self, *, waiting: int, concurrency: int) -> None:
        """Let so many wait and so many run from now on; who runs already runs on."""
        self._most_waiting, self._concurrency = waiting, concurrency
        self._fill()

    def hold(self) -> None:
        """Let nothing more begin."""
        self._held = True

    def release(self) -> None:
        """Let begin what waits, and what comes."""
        self._held = False
        self._fill()

    def refuse(self, why: Callable[[], MeshError]) -> None:
        """Answer all that wait with an error that `why` makes: their turn will not come."""
        while (place := self._next()) is not None:
            place.set_exception(why())

    def begin_one(self) -> bool:
        """Let the one whose turn it is begin; returns False if there was none, or no place for it."""
        if self.running >= self._concurrency or self._held:
            return False
        place = self._next()
        if place is None:
            return False
        self.running += 1
        self._hand(place)
        return True

    def _fill(self) -> None:
        if self.turn is None:
            while self.begin_one():
                pass
        elif self._count and not self._held:
            self.turn.wait(self)

    def _release(self) -> None:
        """Hand the place to the one whose turn it is, or free it."""
        if self._count and not self._held and self.running <= self._concurrency:
            if self.turn is None or not self.turn.crowded:
                place = self._next()
                if place is not None:
                    self._hand(place)
                    return
            else:
                self.turn.wait(self)
        self.running -= 1
