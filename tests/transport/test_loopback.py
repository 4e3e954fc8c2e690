"""Calls inside a process go as calls between two: the same errors, nothing shared. The rest is in the contract."""

from __future__ import annotations

import asyncio
import gc
import weakref

from mesh.clock import Clock
from mesh.errors import Cancelled, InvalidArgument, RemoteFailure, StoreError, Unavailable
from mesh.message import Handler, Reply, Request, encode, replied
from mesh.testing.clock import settle
from mesh.transport.deadlines import Deadlines
from mesh.transport.loopback import Loopback
from mesh.transport.pending import Pending
from tests.transport.ends import ask, echo, on_a_loop


def loopback(handler: Handler) -> Loopback:
    return Loopback(handler, Pending(Deadlines(Clock())))


@on_a_loop
async def test_a_call_is_a_task_of_its_own() -> None:
    tasks: list[object] = []

    async def note(request: Request) -> Reply:
        tasks.append(asyncio.current_task())
        return Reply(request.body)

    carrier = loopback(note)
    await replied(carrier.exchange(ask(1)))
    await replied(carrier.exchange(ask(2)))
    assert len({*tasks, asyncio.current_task()}) == 3


@on_a_loop
async def test_the_reply_is_the_callees_own() -> None:
    reply = await replied(loopback(echo).exchange(ask({"a": [1, b"x"]})))
    assert (reply.error, reply.value()) == (None, {"a": [1, b"x"]})


@on_a_loop
async def test_an_error_is_rebuilt_as_it_would_arrive_from_another_host() -> None:
    class Special(Unavailable):
        pass

    errors = iter([
        Special("later", retry_after=1.0, secret="not carried"), InvalidArgument("wrong", path=("a", 1)),
        StoreError("disk full"),
    ])

    async def fail(request: Request) -> Reply:
        return Reply(error=next(errors), host="mainpc")

    carrier = loopback(fail)
    replies = [await replied(carrier.exchange(ask())) for _ in range(3)]
    assert [(type(reply.error), reply.error.details, reply.host) for reply in replies if reply.error] == [
        (Unavailable, {"retry_after": 1.0}, "mainpc"),
        (InvalidArgument, {"path": ["a", 1]}, "mainpc"),
        (RemoteFailure, {"type": "StoreError"}, "mainpc"),
    ]


@on_a_loop
async def test_an_error_keeps_nothing_of_the_callee_alive() -> None:
    class Secret:
        pass

    secrets: list[weakref.ref[Secret]] = []

    async def fail(request: Request) -> Reply:
        secret = Secret()
        secrets.append(weakref.ref(secret))
        try:
            raise Unavailable(f"refused by {type(secret).__name__}")
        except Unavailable as error:
            return Reply(error=error)

    reply = await replied(loopback(fail).exchange(ask()))
    await settle()
    gc.collect()
    assert reply.error is not None
    assert (reply.error.__traceback__, secrets[0]()) == (None, None)


@on_a_loop
async def test_cancelling_all_answers_every_caller() -> None:
    async def wait(request: Request) -> Reply:
        await asyncio.Event().wait()
        return Reply(encode(None))

    carrier = loopback(wait)
    calls = [asyncio.ensure_future(replied(carrier.exchange(ask(number)))) for number in range(3)]
    await settle()
    carrier.cancel_all()
    assert [type(reply.error) for reply in await asyncio.gather(*calls)] == [Cancelled] * 3
    assert carrier.waiters == {}
