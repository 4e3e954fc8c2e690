"""Programs that freeze: nothing is run for whoever gave up meanwhile, and silence is found out."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from mesh import wire
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded
from mesh.message import Reply, Request, decode
from mesh.transport.link import Peer
from tests.eventually import eventually
from tests.transport.ends import KEYS, ask, host, on_a_loop, outcome, raw_dealer, unreachable
from tests.transport.programs import line, passed, program

HERE = "mainpc"
TOLERANCE = 0.05  # what the fastest frame took, and a turn of the loop


@on_a_loop
async def test_a_call_that_expired_while_the_callee_was_frozen_is_not_run() -> None:
    keys = KEYS[HERE], KEYS["pc2"]
    with program("frozen_callee", keys[0].public, keys[0].secret, keys[1].public) as child:
        endpoint = await asyncio.to_thread(line, child)
        async with host("pc2", listens=False) as caller:
            link = caller.pool.connect(Peer(HERE, endpoint, keys[0].public))
            await eventually(lambda: link.state == "up")
            assert await caller.call(HERE, "before") == ["before"]
            os.kill(child.pid, signal.SIGSTOP)
            reply = await outcome(caller, ask("expired", timeout=0.3))
            assert type(reply.error) is DeadlineExceeded
            patient = outcome(caller, ask("patient", timeout=20))
            await eventually(passed(0.6))
            os.kill(child.pid, signal.SIGCONT)
            assert (await patient).value() == ["before", "patient"]
            assert await caller.call(HERE, "after") == ["before", "patient", "after"]


@on_a_loop
async def test_a_frame_that_waited_for_a_frozen_callee_is_as_old_as_it_waited() -> None:
    """The caller's CANCEL never comes here: only the age of the frame tells that nobody waits any more."""
    keys = KEYS[HERE], KEYS["pc2"]
    with program("frozen_callee", keys[0].public, keys[0].secret, keys[1].public) as child:
        endpoint = await asyncio.to_thread(line, child)
        async with raw_dealer(Peer(HERE, endpoint, keys[0].public)) as dealer:
            await dealer.greet()
            os.kill(child.pid, signal.SIGSTOP)
            for number, patience in ((1, 0.3), (2, 20.0)):
                await dealer.send(wire.call(number, ask(number, timeout=patience)))
            await eventually(passed(0.6))
            os.kill(child.pid, signal.SIGCONT)
            await eventually(lambda: len(dealer.read()) == 3)
            number, expired = wire.read_reply(dealer.of_kind(wire.ERROR)[0])
            assert (number, type(expired.error)) == (1, DeadlineExceeded)
            assert expired.error is not None
            assert expired.error.details == {"began": "no"}
            number, answered = wire.read_reply(dealer.of_kind(wire.REPLY)[0])
            assert (number, answered.value()) == (2, [2])


@on_a_loop
async def test_a_call_that_expired_while_the_caller_was_frozen_is_not_run() -> None:
    run: list[tuple[float, float]] = []

    async def note(request: Request) -> Reply:
        run.append((decode(request.body), Clock().monotonic()))
        return Reply(request.body)

    async with host(HERE, note) as callee:
        keys = KEYS[HERE], KEYS["pc2"]
        with program("frozen_caller", callee.endpoint, keys[0].public, keys[1].public, keys[1].secret) as child:
            await eventually(lambda: len(run) > 50)
            for _ in range(3):
                seen = len(run)
                os.kill(child.pid, signal.SIGSTOP)
                await eventually(passed(0.25))
                os.kill(child.pid, signal.SIGCONT)
                await eventually(lambda seen=seen: len(run) > seen + 50)  # type: ignore[misc]
        late = [begun - given_up for given_up, begun in run if begun > given_up]
        assert max(late, default=0.0) < TOLERANCE
        assert callee.traffic.undecodable == 0


@on_a_loop
async def test_a_peer_that_froze_is_found_out_by_its_silence_and_dialled_again() -> None:
    keys = KEYS[HERE], KEYS["pc2"]
    with program("frozen_callee", keys[0].public, keys[0].secret, keys[1].public) as child:
        endpoint = await asyncio.to_thread(line, child)
        async with host("pc2", listens=False) as caller:
            link = caller.pool.connect(Peer(HERE, endpoint, keys[0].public))
            await eventually(lambda: link.state == "up")
            os.kill(child.pid, signal.SIGSTOP)
            call = outcome(caller, ask("lost", timeout=20))
            begun = time.monotonic()
            assert unreachable(await call)[0] == "unknown"
            assert time.monotonic() - begun < 10
            os.kill(child.pid, signal.SIGCONT)
            await eventually(lambda: link.state == "up")
            assert await caller.call(HERE, "again") == ["again"], "what came on the lost connection is not run"


@on_a_loop
async def test_a_caller_that_froze_is_found_out_by_its_silence() -> None:
    async with host(HERE) as callee:
        keys = KEYS[HERE], KEYS["pc2"]
        with program("frozen_caller", callee.endpoint, keys[0].public, keys[1].public, keys[1].secret) as child:
            await eventually(lambda: callee.sessions == [("pc2", True)])
            os.kill(child.pid, signal.SIGSTOP)
            await eventually(lambda: callee.sessions == [("pc2", True), ("pc2", False)], limit=3.5)
            os.kill(child.pid, signal.SIGCONT)
            await eventually(lambda: callee.sessions[2:] == [("pc2", True)])
