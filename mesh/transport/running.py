"""The requests of one peer that are being answered: a task each, owned here, so they end when the peer goes.

What the handler answers at once needs no task.

The task of a stream goes on to send its items, as the reader's credit and the pace of all streams allow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from mesh.errors import Cancelled, MeshError, MessageTooLarge, RemoteFailure
from mesh.message import MAX_BODY, Answer, Items, Reply, Request, Responder
from mesh.transport.outflow import Outflow, Pace, Share

Take = Callable[[int, Request, Reply], None]


class Outlet(Protocol):
    """What takes the items of streams to the peer: a connection, or the loopback."""

    pace: Pace

    def send_opened(self, number: int, host: str) -> None:
        """Say that a stream is open."""

    def send_items(self, number: int, first: int, bodies: list[bytes]) -> None:
        """Send items that follow on each other, the first of which has that index."""

    def send_end(self, number: int, count: int, error: MeshError | None) -> None:
        """Say that a stream has ended after `count` items, with an error or without."""


class Running:
    """Tasks by the number the peer gave the call; `take` is called exactly once for each that opens no stream.

    A stream is opened and ended at `outlet`.
    """

    def __init__(self, handler: Responder, take: Take, outlet: Outlet) -> None:
        self._handler = handler
        self._take = take
        self._outlet = outlet
        self._outflows: dict[int, Outflow] = {}
        self._share = Share()
        self._tasks: dict[int, tuple[asyncio.Future[Any], Request, Answer]] = {}
        self._abandoned: set[asyncio.Future[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def streams(self) -> int:
        """How many of them send a stream just now."""
        return len(self._outflows)

    def __contains__(self, number: int) -> bool:
        return number in self._tasks

    def start(self, number: int, request: Request) -> None:
        """Answer `request`, in a task of its own if that takes a while."""
        answer = self.begin(request)
        if type(answer) is Reply and answer.items is None:
            self._take(number, request, answer)
        else:
            self.go_on(number, request, answer)

    def begin(self, request: Request) -> Answer:
        """Return what the handler answers; the caller takes care of it."""
        try:
            return self._handler(request)
        except Exception as error:  # a handler answers errors as replies; whatever it let through must not be lost
            return _let_through(request, error)

    def go_on(self, number: int, request: Request, answer: Answer) -> None:
        """Wait for an answer that was begun, in a task unless it is a future, and take it then."""
        if isinstance(answer, asyncio.Future):
            self._tasks[number] = answer, request, answer
            answer.add_done_callback(partial(self._settled, number, request))
            return
        if self._loop is None:  # kept, because to ask for it costs a system call before Python 3.12
            self._loop = asyncio.get_running_loop()
        self._tasks[number] = self._loop.create_task(self._run(number, request, answer)), request, answer

    def _settled(self, number: int, request: Request, answer: asyncio.Future[Reply]) -> None:
        reply = Reply(error=_cancelled(request)) if answer.cancelled() else answer.result()
        self._finish(number, request, reply)

    async def _run(self, number: int, request: Request, answer: Answer) -> None:
        try:
            reply = answer if isinstance(answer, Reply) else await answer
        except asyncio.CancelledError:
            reply = Reply(error=_cancelled(request))
        except Exception as error:  # as in `begin`
            reply = _let_through(request, error)
        if reply.items is None:
            self._finish(number, request, reply)
        else:
            await self._stream(number, request, reply.items, reply.host)

    def _finish(self, number: int, request: Request, reply: Reply) -> None:
        entry = self._tasks.get(number)
        if entry is not None and entry[1] is request:  # else abandoned, and its number may be another call's by now
            del self._tasks[number]
            self._take(number, request, reply)

    async def _stream(self, number: int, request: Request, items: Items, host: str) -> None:
        """Send the items of an open stream, and its end."""
        if not self._has(number, request):
            await items.aclose()
            return
        flow = self._outflows[number] = Outflow(request.credit, self._share, partial(self._outlet.send_items, number))
        self._share.joined()
        self._outlet.send_opened(number, host)
        try:
            error = await self._pour(number, request, items, flow)
        except asyncio.CancelledError:  # for the second time, while what makes the items was being closed
            error = _cancelled(request)
        finally:
            self._share.left()
        if self._has(number, request):
            del self._tasks[number], self._outflows[number]
            flow.leave()
            self._outlet.send_end(number, flow.sent, error)

    async def _pour(self, number: int, request: Request, items: Items, flow: Outflow) -> MeshError | None:
        """Send items until there are no more; returns the error that ended them. They are closed in any case."""
        task = self._tasks[number][0]
        assert isinstance(task, asyncio.Task)  # this one
        cancelling, put = task.cancelling, flow.put
        until = 0

        def emit(body: bytes) -> bool:
            if cancelling():  # what makes the items has swallowed it
                return False
            size = len(body)
            if size > MAX_BODY:
                raise MessageTooLarge(f"item {flow.sent} of {request.target} is {size} bytes, the limit is {MAX_BODY}",
                                      size=size, limit=MAX_BODY)
            return put(body) and flow.sent < until

        try:
            while not cancelling():
                if not flow.open:
                    await flow.opening()
                await self._outlet.pace.turn()
                until = flow.sent + min(flow.room, self._share.burst)
                if not await items.pour(emit):
                    return None
            return items.verdict or _cancelled(request)
        except asyncio.CancelledError:
            return items.verdict or _cancelled(request)
        except MeshError as error:
            return error
        except Exception as error:  # as in `_run`
            return _let_through(request, error).error
        finally:
            await items.aclose()

    def grant(self, number: int, taken: int) -> None:
        """Note how many items of a stream its reader has taken in all; raises `ProtocolError` for an impossible one."""
        flow = self._outflows.get(number)
        if flow is not None:  # else it has ended meanwhile
            flow.grant(taken)

    def _has(self, number: int, request: Request) -> bool:
        """Tell whether a number still means this request: once it is abandoned it may be another's."""
        entry = self._tasks.get(number)
        return entry is not None and entry[1] is request

    def cancel(self, number: int) -> None:
        """Cancel one request; its answer says so."""
        entry = self._tasks.get(number)
        if entry is not None:
            task, request, answer = entry

            def ended(_: object) -> None:  # a task that was cancelled before its first step never reaches `_run`
                _close(answer)
                self._finish(number, request, Reply(error=_cancelled(request)))

            task.add_done_callback(ended)
            task.cancel()

    def cancel_all(self) -> None:
        """Cancel every request, because this host stops."""
        for number in list(self._tasks):
            self.cancel(number)

    def abandon(self) -> None:
        """Cancel every request and answer none: the connection they came over is gone."""
        for task, _, answer in self._tasks.values():
            self._abandoned.add(task)
            task.add_done_callback(partial(self._gone, answer))
            task.cancel()
        self._tasks.clear()
        for flow in self._outflows.values():
            flow.drop()
        self._outflows.clear()

    def _gone(self, answer: Answer, task: asyncio.Future[Any]) -> None:
        self._abandoned.discard(task)
        _close(answer)


def _close(answer: Answer) -> None:
    """Let go of an answer that nobody may have begun to wait for; one that was awaited is not concerned."""
    if isinstance(answer, Coroutine):
        answer.close()
    elif isinstance(answer, Reply) and answer.items is not None:
        answer.items.drop()


def _let_through(request: Request, error: Exception) -> Reply:
    return Reply(error=RemoteFailure(f"{request.target}: {error}", type=type(error).__name__))


def _cancelled(request: Request) -> MeshError:
    return Cancelled(f"{request.target} was cancelled before it ended")
