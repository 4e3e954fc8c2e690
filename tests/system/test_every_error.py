"""Every error code, as real processes on two hosts produce it and `mesh call --json` tells it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh.config import load
from mesh.errors import WIRE_ERRORS, MeshError
from mesh.message import Reply, Request
from tests.cli.runner import Result, run
from tests.cli.standin import StandIn
from tests.eventually import wait_until
from tests.project import Project, project

LIMIT = 60.0
FAR = '''
import asyncio
from collections.abc import AsyncIterator

from mesh import Agent, operation


class It(Agent):
    """Does what can go wrong."""

    @operation
    async def echo(self, text: str) -> str:
        return text

    @operation(max_body=1000)
    async def small(self, text: str) -> None: ...

    @operation
    async def counted(self) -> int:
        return "many"

    @operation
    async def broken(self) -> None:
        raise ValueError("made to fail")

    @operation
    async def round(self) -> None:
        await self.request("near.round")

    @operation
    async def slow(self, seconds: float) -> None:
        await self.publish("far.begun", self.service)
        await asyncio.sleep(seconds)

    @operation
    async def drip(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(100)
'''
NEAR = '''
import asyncio

from mesh import Agent, operation, subscribe


class It(Agent):
    """Asks the other host."""

    async def setup(self) -> None:
        self.begun: list[str] = []

    @subscribe("far.begun")
    async def note(self, service: str) -> None:
        self.begun.append(service)

    @operation
    async def begun_by(self) -> list[str]:
        return self.begun

    @operation
    async def round(self) -> None:
        await self.request("far.round")

    @operation
    async def many(self, target: str, times: int, seconds: float) -> None:
        """Make some calls at once; ends as the first that fails."""
        ask = self.options(retry=False).request
        tasks = [asyncio.ensure_future(ask(target, seconds=seconds)) for _ in range(times)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise next(error for task in done if (error := task.exception()) is not None)

    @operation
    async def loopback(self) -> None:
        await self.connections.http.get("http://127.0.0.1:9/")

    @operation
    async def elsewhere(self) -> None:
        await self.connections.http.to("nowhere").get("/")
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts: who asks on mainpc, who is asked on pc2."""
    with project(tmp_path_factory.mktemp("errors")) as made:
        made.agent("near", NEAR)
        made.agent("far", FAR, host="pc2", policies={"breaker": None})
        made.agent("tight", FAR, host="pc2", limits={"inbox": 1, "concurrency": 1})
        made.agent("limited", FAR, host="pc2", policies={"rate": {"calls": 1, "per_s": 600.0}})
        made.agent("frail", FAR, host="pc2", policies={"breaker": {"failures": 1}})
        made.agent("alone", FAR, host="pc2", isolation="process")
        made.agent("brief", FAR, host="pc2", limits={"stop_s": 0.2})
        made.agent("gone", FAR, host="pc2")
        made.up()
        yield made


def called(whole: Project, *words: str) -> Result:
    return run(whole.root, "call", *words, "--json")


def meanwhile(whole: Project, target: str, *words: str) -> subprocess.Popen[str]:
    """Begin a call in a process of its own; returns when the operation has begun."""
    service = target.partition(".")[0]
    before = called(whole, "near.begun_by").json()["result"].count(service)
    process = whole.spawn("mesh.cli", "call", target, *words, "--json")
    wait_until(lambda: called(whole, "near.begun_by").json()["result"].count(service) > before, LIMIT)
    return process


def ended(whole: Project, process: subprocess.Popen[str]) -> Result:
    return Result(process.wait(LIMIT), whole.output(process), "")


def _unavailable(whole: Project) -> Result:
    assert run(whole.root, "agent", "stop", "gone").code == 0
    return called(whole, "gone.echo", "text=a")


def _unreachable(whole: Project) -> Result:
    row = next(row for row in run(whole.root, "agents", "--json").json() if row["service"] == "alone")
    calling = meanwhile(whole, "alone.slow", "seconds=30")
    whole.kill_pid(row["pid"], signal.SIGKILL)
    return ended(whole, calling)


def _open(whole: Project) -> Result:
    assert called(whole, "frail.broken").json()["error"]["code"] == "remote_failure"
    return called(whole, "frail.broken", "--retry", "1")


def _late(whole: Project) -> Result:
    return called(whole, "far.slow", "seconds=30", "--timeout", "0.5")


def _cancelled(whole: Project) -> Result:
    calling = meanwhile(whole, "brief.slow", "seconds=30")
    assert run(whole.root, "agent", "stop", "brief").code == 0
    return ended(whole, calling)


def _garbled(whole: Project) -> Result:
    """Ask a host whose answers are no msgpack; it stands on a port that no other host has."""
    root = whole.root / "garbled"
    with project(root) as other:
        other.agent("far", FAR)
        config = load(other.root)

        class Garbler(StandIn):
            async def _handle(self, request: Request) -> Reply:
                return await super()._handle(request) if request.service == "supervisor" else Reply(b"\xc1")

        async def scenario() -> Result:
            host = Garbler(config, "mainpc", {"supervisor.directory": lambda _: {"hosts": [], "instances": []}})
            try:
                return await asyncio.to_thread(called, other, "far.echo")
            finally:
                host.close()

        return asyncio.run(scenario())


CASES: dict[str, Callable[[Project], Result]] = {
    "unknown_service": lambda whole: called(whole, "nera.round"),
    "unknown_operation": lambda whole: called(whole, "far.ecoh", "text=a"),
    "unavailable": _unavailable,
    "unreachable": _unreachable,
    "invalid_argument": lambda whole: called(whole, "far.echo", "text=a", "other=b"),
    "invalid_result": lambda whole: called(whole, "far.counted"),
    "overloaded": lambda whole: called(whole, "near.many", "target=tight.slow", "times=4", "seconds=30"),
    "rate_limited": lambda whole: called(whole, "near.many", "target=limited.slow", "times=2", "seconds=0"),
    "circuit_open": _open,
    "deadline_exceeded": _late,
    "cancelled": _cancelled,
    "remote_failure": lambda whole: called(whole, "far.broken"),
    "call_cycle": lambda whole: called(whole, "near.round"),
    "permission_denied": lambda whole: called(whole, "near.loopback"),
    "message_too_large": lambda whole: called(whole, "far.small", f"text={'x' * 2000}"),
    "protocol_error": _garbled,
    "engine_missing": lambda whole: called(whole, "near.elsewhere"),
}
CARRIED: dict[str, dict[str, Any]] = {
    "unknown_service": {"suggestion": "near"},
    "unknown_operation": {"suggestion": "echo"},
    "unreachable": {"began": "unknown"},
    "invalid_argument": {"path": "other"},
    "remote_failure": {"type": "ValueError"},
    "call_cycle": {"path": ["near.round", "far.round", "near.round"]},
    "permission_denied": {"rule": "http_private"},
    "message_too_large": {"limit": 1000},
    "engine_missing": {"command": "add connections.http.targets.nowhere to config/hosts.yaml"},
}


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_each_code_is_what_somebody_gets(whole: Project, code: str) -> None:
    kind: type[MeshError] = WIRE_ERRORS[code]
    result = CASES[code](whole)
    document = json.loads(result.out)
    error = document["error"]
    assert (document["ok"], error["code"], error["retryable"]) == (False, code, kind.retryable), error
    assert result.code == kind.exit_code
    assert error["message"] and set(kind.carries) <= set(error)
    assert {name: error[name] for name in CARRIED.get(code, {})} == CARRIED.get(code, {})


def test_a_failure_is_found_under_its_id(whole: Project) -> None:
    error = called(whole, "far.broken").json()["error"]
    told = run(whole.root, "errors", "show", error["error_id"], "--json").json()
    assert (told["service"], told["type"], told["message"]) == ("far", "ValueError", "made to fail")


def test_a_deadline_says_what_is_known_of_the_work(whole: Project) -> None:
    dripped = run(whole.root, "stream", "far.drip", "--timeout", "0.5", "--json")
    assert dripped.code == 4 and json.loads(dripped.out.splitlines()[-1])["error"]["began"] == "yes"
    pc2 = whole.pid("pc2")
    whole.kill_pid(pc2, signal.SIGSTOP)
    try:
        left = called(whole, "far.echo", "--data", '{"text": "a"}', "--timeout", "0.5")
        assert left.code == 4 and left.json()["error"]["began"] == "unknown"

        def kept() -> Result | None:
            found = called(whole, "far.echo", "--data", '{"text": "a"}', "--timeout", "0.5")
            return found if found.json()["error"].get("began") == "no" else None

        found = wait_until(kept, LIMIT)  # once the link is lost, a call waits here for the next one
        assert (found.code, found.json()["error"]["code"]) in ((4, "deadline_exceeded"), (1, "unreachable"))
    finally:
        whole.kill_pid(pc2, signal.SIGCONT)
    wait_until(lambda: called(whole, "far.echo", "text=a").json()["ok"], LIMIT)
