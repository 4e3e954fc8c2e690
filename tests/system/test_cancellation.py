"""Who gives up ends all that runs for it: over hosts, threads and processes, however deep, however it gives up."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence

import psutil
import pytest

from tests.eventually import wait_until
from tests.project import Project, project

RELAY = '''
import asyncio
import os
import time
from collections.abc import AsyncIterator

from mesh import Agent, MeshError, operation


class It(Agent):
    """Passes on what it is asked, and writes down when that began and how it ended."""

    async def setup(self) -> None:
        self.note("process", str(os.getpid()))

    def note(self, *words: str) -> None:
        with (self.folder / "journal").open("a") as journal:
            journal.write(" ".join(words) + "\\n")

    async def passed(self, way: list[str], call: str) -> list[str]:
        self.note("begin", call)
        how = "raised"
        try:
            if not way:
                await asyncio.Event().wait()
            told = await self.request(way[0], way=way[1:], call=call)
            how = "returned"
            return told
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        finally:
            self.note("end", call, how)

    @operation
    async def relay(self, way: list[str], call: str) -> list[str]:
        return await self.passed(way, call)

    @operation
    async def limited(self, way: list[str], call: str, seconds: float) -> list[str]:
        return await self.request(way[0], way=way[1:], call=call, timeout=seconds)

    @operation
    async def flow(self, way: list[str], call: str) -> AsyncIterator[int]:
        self.note("begin", call)
        try:
            yield 0
            async for item in self.stream(way[0], way=way[1:], call=call) if way else self.endless():
                yield item
        finally:
            self.note("end", call, "closed")

    async def endless(self) -> AsyncIterator[int]:
        number = 0
        while True:
            number += 1
            yield number
            await asyncio.sleep(0.005)

    @operation
    async def submit_text(self, data: str, user_id: str, session_id: str) -> str:
        await self.passed(["b.relay", "c.relay"], data)
        return ""

    @operation
    def block(self, call: str) -> None:
        self.note("begin", call)
        until = time.monotonic() + 60
        while time.monotonic() < until and not (self.folder / "go").exists():
            time.sleep(0.01)
        self.note("end", call, "returned")

    @operation
    async def swallow(self, call: str) -> None:
        self.note("begin", call)
        while not (self.folder / "go").exists():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.note("swallowed", call)
        self.note("end", call, "returned")

    @operation
    async def hold(self, seconds: float) -> None:
        time.sleep(seconds)

    @operation
    async def note_it(self, call: str) -> None:
        self.note("begin", call)

    @operation
    async def behind(self, service: str, call: str) -> str:
        """Have a service hold its loop, and ask it something else in the same moment, with too little time for it."""
        holding = asyncio.ensure_future(self.request(f"{service}.hold", seconds=0.6, timeout=5.0))
        await asyncio.sleep(0)
        try:
            await self.request(f"{service}.note_it", call=call, timeout=0.2)
        except MeshError as error:
            return error.code
        finally:
            await holding
        return "ok"

    @operation
    async def one(self, way: list[str], call: str) -> list[str]:
        return await self.passed(way, call)

    @operation
    async def two(self, way: list[str], call: str) -> list[str]:
        return await self.passed(way, call)

    @operation
    async def three(self, way: list[str], call: str) -> list[str]:
        return await self.passed(way, call)
'''
PLACES = {
    "a": ("mainpc", "coroutine"), "a_threaded": ("mainpc", "thread"), "a_apart": ("mainpc", "process"),
    "b": ("pc2", "coroutine"), "b_threaded": ("pc2", "thread"), "b_apart": ("pc2", "process"),
    "c": ("mainpc", "coroutine"), "c_apart": ("mainpc", "process"), "request_coordinator": ("mainpc", "coroutine"),
}
WAYS = [("a", "b", "c"), ("a_threaded", "b_threaded", "c"), ("a_apart", "b_apart", "c_apart")]
LIMIT = 30.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts with agents of every kind that pass on what they are asked."""
    with project(tmp_path_factory.mktemp("cancellation")) as made:
        for service, (host, isolation) in PLACES.items():
            made.agent(service, RELAY, host=host, isolation=isolation, limits={"stop_s": 1, "cleanup_s": 0.5},
                       policies={"breaker": None})
        made.up()
        yield made


def journal(made: Project, service: str) -> list[list[str]]:
    """Return what an agent has written down, by words."""
    path = made.home / PLACES[service][0] / "state" / service / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def begun(made: Project, services: tuple[str, ...], call: str) -> bool:
    return all(["begin", call] in journal(made, service) for service in services)


def ends(made: Project, services: tuple[str, ...], call: str) -> list[str]:
    """Return how a call has ended at each agent that it has come to an end at."""
    return [line[2] for service in services for line in journal(made, service) if line[:2] == ["end", call]]


Started = tuple[tuple[str, ...], str, subprocess.Popen[str]]


def start(made: Project, verb: str, ways: Sequence[tuple[str, ...]], name: str) -> list[Started]:
    """Start commands that ask the first of a way to ask the second, and so on; return when all the last have begun."""
    operation = "flow" if verb == "stream" else "relay"
    started: list[Started] = []
    for way in ways:
        call = f"{name}-{way[0]}"
        asked = json.dumps({"way": [f"{service}.{operation}" for service in way[1:]], "call": call})
        process = made.spawn("mesh.cli", verb, f"{way[0]}.{operation}", "--data", asked, "--json")
        started.append((way, call, process))
    for way, call, process in started:
        wait_until(lambda: begun(made, way, call) or process.poll() is not None, 30)  # noqa: B023 - waited for at once
        assert process.poll() is None, made.output(process)
    return started


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_a_deadline_ends_every_step_of_the_way(mesh: Project, way: tuple[str, ...]) -> None:
    steps = [f"{service}.relay" for service in way[1:]]
    answer = mesh.call(f"{way[0]}.limited", way=steps, call=f"deadline-{way[0]}", seconds=2.0)
    assert answer["error"]["code"] == "deadline_exceeded", answer
    wait_until(lambda: len(ends(mesh, way[1:], f"deadline-{way[0]}")) == 2, LIMIT)
    assert ends(mesh, way[2:], f"deadline-{way[0]}") == ["cancelled"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_a_command_that_is_broken_off_ends_every_step_of_the_way(mesh: Project, number: signal.Signals) -> None:
    for way, call, process in start(mesh, "call", WAYS[::2], number.name):
        process.send_signal(number)
        assert process.wait(10) == (130 if number == signal.SIGINT else -number), mesh.output(process)
        wait_until(lambda: ends(mesh, way, call) == ["cancelled"] * 3, LIMIT)  # noqa: B023 - waited for at once


def test_ctrl_c_of_mesh_ask_ends_every_step_of_the_way(mesh: Project) -> None:
    way = ("request_coordinator", "b", "c")
    process = mesh.spawn("mesh.cli", "ask", "question")
    wait_until(lambda: begun(mesh, way, "question"), 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130, mesh.output(process)
    wait_until(lambda: ends(mesh, way, "question") == ["cancelled"] * 3, LIMIT)


def test_ctrl_c_or_the_end_of_mesh_stream_closes_every_generator_of_the_way(mesh: Project) -> None:
    for way, call, process in start(mesh, "stream", WAYS, "stream"):
        wait_until(lambda: mesh.output(process).count("item") > 5, 10)  # noqa: B023 - waited for at once
        number = signal.SIGKILL if way == WAYS[1] else signal.SIGINT
        process.send_signal(number)
        assert process.wait(10) == (130 if number == signal.SIGINT else -number), mesh.output(process)
        wait_until(lambda: ends(mesh, way, call) == ["closed"] * 3, LIMIT)  # noqa: B023 - waited for at once


def test_a_callers_death_ends_what_runs_for_it_on_other_hosts(mesh: Project) -> None:
    way = ("a_apart", "b", "c_apart")
    ((_, call, process),) = start(mesh, "call", [way], "death")
    pids = [int(words[1]) for words in journal(mesh, "a_apart") if words[0] == "process"]
    psutil.Process(pids[-1]).kill()
    assert process.wait(10) == 1 and '"unreachable"' in mesh.output(process)
    wait_until(lambda: ends(mesh, way[1:], call) == ["cancelled"] * 2, LIMIT)
    wait_until(lambda: [words[0] for words in journal(mesh, "a_apart")].count("process") > len(pids), 20)


STUBBORN = {"b": ("block", "a thread cannot be stopped"), "b_apart": ("swallow", "it is cancelled once more"),
            "b_threaded": ("swallow", "it is cancelled once more")}


def test_what_does_not_end_is_named_everywhere_until_it_ends(mesh: Project) -> None:
    asked = [mesh.spawn("mesh.cli", "call", f"{service}.{operation}", "call=stubborn")
             for service, (operation, _) in STUBBORN.items()]
    for service, process in zip(STUBBORN, asked, strict=True):
        wait_until(lambda: begun(mesh, (service,), "stubborn"), 20)  # noqa: B023 - waited for at once
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    wait_until(lambda: [row["stragglers"] for row in mesh.json("agents") if row["service"] in STUBBORN] == [1] * 3, 20)
    told = [error["message"] for error in mesh.json("errors")]
    for service, (operation, words) in STUBBORN.items():
        place = f"{operation}() at agents/{service}.py:"
        (message,) = [each for each in told if each.startswith(f"{operation} of {service} was cancelled")]
        assert place in message and words in message
    shown = mesh.mesh("why", "b", "--timeout", "30").stdout
    assert "block was cancelled" in shown and "does not end" in shown
    (row,) = mesh.json("describe", "b_apart")["goes_on"]
    assert (row["operation"], row["place"].partition(":")[0]) == ("swallow", "swallow() at agents/b_apart.py")
    for service in STUBBORN:
        (mesh.home / "pc2" / "state" / service / "go").touch()
        wait_until(lambda: ends(mesh, (service,), "stubborn") == ["returned"], LIMIT)  # noqa: B023
    wait_until(lambda: not any(row["stragglers"] for row in mesh.json("agents")), 10)


@pytest.mark.parametrize("service", ["b", "b_threaded", "b_apart"])
def test_what_waited_behind_a_held_loop_beyond_its_deadline_is_not_begun(mesh: Project, service: str) -> None:
    assert mesh.call("a.behind", service=service, call="late")["result"] == "deadline_exceeded"
    assert not begun(mesh, (service,), "late")


@pytest.mark.parametrize("way", [("a", "b", "a"), ("a_apart", "b_apart", "c", "a_apart")], ids="-".join)
def test_a_circle_over_hosts_and_processes_is_refused_with_its_path(mesh: Project, way: tuple[str, ...]) -> None:
    steps = [f"{service}.relay" for service in way]
    answer = mesh.call(steps[0], way=steps[1:], call="circle")
    assert answer["error"]["code"] == "call_cycle", answer
    assert answer["error"]["path"] == steps and " → ".join(steps) in answer["error"]["message"]


def test_more_than_16_hops_over_hosts_and_processes_are_refused_with_the_path(mesh: Project) -> None:
    steps = [f"{service}.{operation}" for operation in ("one", "two", "three")
             for service in ("a", "b", "a_apart", "b_apart", "b_threaded", "c")]
    answer = mesh.call(steps[0], way=steps[1:], call="deep")
    assert answer["error"]["code"] == "call_cycle" and "more than 16 calls deep" in answer["error"]["message"], answer
    assert answer["error"]["path"] == steps[:17]
    assert not begun(mesh, ("b",), "beyond")


def test_a_mesh_whose_agents_do_not_end_goes_down_by_itself(mesh: Project) -> None:
    for service in STUBBORN:
        (mesh.home / "pc2" / "state" / service / "go").unlink(missing_ok=True)
    for service, (operation, _) in STUBBORN.items():
        process = mesh.spawn("mesh.cli", "call", f"{service}.{operation}", "call=last")
        wait_until(lambda: begun(mesh, (service,), "last"), 20)  # noqa: B023 - waited for at once
        process.kill()
    assert mesh.mesh("down").returncode == 0
    (printed,) = [text for text in (mesh.output(each) for each in mesh._started) if '"ready"' in text]
    assert "is killed" not in printed and printed.count("ended as asked") == 3, printed
    log = (mesh.home / "pc2" / "logs" / "supervisor.log").read_text()
    assert "the process ends although code of its agents goes on" in log
