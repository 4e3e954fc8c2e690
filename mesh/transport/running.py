"""The requests of one peer that are being answered: a task each, owned here, so they end when the peer goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.errors import Cancelled, RemoteFailure
from mesh.message import Handler, Reply, Request

Answer = Callable[[int, Request, Reply], None]


class Running:
    """Tasks by the number the peer gave the call; `answer` is called exactly once for each."""

    def __init__(self, handler: Handler, answer: Answer) -> None:
        self._handler = handler
        self._answer = answer
        self._tasks: dict[int, tuple[asyncio.Task[None], Request]] = {}
        self._abandoned: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, number: int) -> bool:
        return number in self._tasks

    def start(self, number: int, request: Request) -> None:
        """Answer `request` in a task of its own."""
        if self._loop is None:  # kept, because to ask for it costs a system call before Python 3.12
            self._loop = asyncio.get_running_loop()
        self._tasks[number] = self._loop.create_task(self._run(number, request)), request

    async def _run(self, number: int, request: Request) -> None:
        try:
            reply = await self._handler(request)
        except asyncio.CancelledError:
            reply = _cancelled(request)
        except Exception as error:  # a handler answers errors as replies; whatever it let through must not be lost
            reply = Reply(error=RemoteFailure(f"{request.target}: {error}", type=type(error).__name__))
        self._finish(number, request, reply)

    def _finish(self, number: int, request: Request, reply: Reply) -> None:
        entry = self._tasks.get(number)
        if entry is not None and entry[1] is request:  # else abandoned, and its number may be another call's by now
            del self._tasks[number]
            self._answer(number, request, reply)

    def cancel(self, number: int) -> None:
        """Cancel one request; its answer says so."""
        entry = self._tasks.get(number)
        if entry is not None:
            task, request = entry
            # a task that was cancelled before its first step never reaches `_run`
            task.add_done_callback(lambda _: self._finish(number, request, _cancelled(request)))
            task.cancel()

    def cancel_all(self) -> None:
        """Cancel every request, because this host stops."""
        for number in list(self._tasks):
            self.cancel(number)

    def abandon(self) -> None:
        """Cancel every request and answer none: the connection they came over is gone."""
        for task, _ in self._tasks.values():
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
            task.cancel()
        self._tasks.clear()


def _cancelled(request: Request) -> Reply:
    return Reply(error=Cancelled(f"{request.target} was cancelled before it ended"))
