"""What a running mesh shows to Prometheus: everything that is declared, from the same figures as `mesh agents`."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh.metrics import Instrument
from tests.eventually import wait_until
from tests.figures import Figures, scrape
from tests.project import Project
from tests.redis_server import RedisServer
from tests.system.conftest import ECHO
from tools.metrics_reference import load

CALLER = '''
import asyncio
import time
from collections.abc import AsyncIterator

from mesh import Agent, operation, subscribe
from mesh.errors import MeshError


class It(Agent):
    """Calls the other host."""

    @operation
    async def many(self, calls: int, outstanding: int) -> int:
        async def work() -> None:
            for _ in range(calls // outstanding):
                await self.request("far.echo", text="x" * 76)

        await asyncio.gather(*(work() for _ in range(outstanding)))
        return calls

    @operation
    async def crowd(self) -> None:
        await asyncio.gather(*(self.request("far.slow", seconds=0.05) for _ in range(3)))

    @operation
    async def vainly(self) -> list[str]:
        codes = []
        for target in ("far.fail", "far.made_up", "far.echo", "nobody.there"):
            try:
                await self.request(target)
            except MeshError as error:
                codes.append(error.code)
        return codes

    @operation
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)

    @operation
    async def numbers(self, most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number

    @subscribe("weather.*")
    async def hear(self, weather: object) -> None:
        pass
'''

MODEL = '''
from mesh import MLAgent, operation


class It(MLAgent):
    """Doubles numbers, many at a time."""

    async def setup(self) -> None:
        self.one = self.batched(lambda numbers: [2 * number for number in numbers])

    @operation
    async def double(self, number: int) -> int:
        await self.load("doubler", lambda: "a model", memory_mb=50)
        return await self.one(number)
'''

ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(("mesh_breaker_opened_total", "mesh_breaker_refused_total"), "policy/test_breakers.py"),
    **dict.fromkeys(("mesh_cache_bytes", "mesh_cache_calls_total", "mesh_cache_entries", "mesh_cache_evicted_total",
                     "mesh_cache_invalidated_total"), "policy/test_cache.py"),
    **dict.fromkeys(("mesh_fallbacks_total", "mesh_fallbacks_failed_total"), "policy/test_fallback.py"),
    **dict.fromkeys(("mesh_group_events_total", "mesh_group_events_again_total", "mesh_group_events_waiting"),
                    "system/test_sharing.py"),
    "mesh_paused_total": "policy/test_pause.py",
    **dict.fromkeys(("mesh_rate_callers", "mesh_rate_limited_total"), "policy/test_rate.py"),
    "mesh_stragglers": "supervisor/cell/test_stragglers.py",
}
"""Instruments that only a mesh of another make shows, each with the file of the test that sees it."""


@pytest.fixture
def whole(caller: Project, redis_server: RedisServer) -> Project:
    """A running mesh with one of everything: an agent in a process of its own, one with a model, a Redis."""
    file = caller.root / "config" / "hosts.yaml"
    text = file.read_text().replace("store: sqlite", "store: redis")
    file.write_text(f'connections: {{redis: {{url: "{redis_server.url}"}}}}\n{text}')
    file.write_text(file.read_text().replace("  mainpc: {", "  mainpc: {budget: {memory_mb: 500}, "))
    caller.agent("apart", ECHO, isolation="process")
    caller.agent("model", MODEL)
    caller.up()
    return caller


@pytest.fixture
def calling(caller: Project) -> Project:
    """The mesh of `near` and `far`, running."""
    caller.up()
    return caller


@pytest.fixture
def caller(pair: Project) -> Project:
    """A project in which `near` calls `far`, which takes one call at a time."""
    pair.agent("near", CALLER, host="mainpc", depends_on=[{"service": "far", "soft": True}])
    config = pair.root / "config" / "agents" / "far.yaml"
    config.write_text(config.read_text() + "limits: {concurrency: 1}\n")
    return pair


def page(project: Project, name: str) -> Figures:
    """Scrape a host, or the registry."""
    return scrape(project.registry_metrics_port if name == "registry" else project.ports[name][2])


def done(project: Project, target: str, **arguments: Any) -> Any:
    """Call an operation and return its result."""
    answer = project.call(target, **arguments)
    assert answer["ok"], answer
    return answer["result"]


def test_whatever_is_declared_is_shown_and_nothing_else(whole: Project) -> None:
    done(whole, "near.crowd")
    done(whole, "near.vainly")
    done(whole, "near.block", seconds=1.0)
    assert done(whole, "model.double", number=4) == 8
    assert whole.mesh("stream", "near.numbers", "most=3").returncode == 0
    declared = load()
    wait_until(lambda: page(whole, "mainpc").of("mesh_loop_holds_total", service="near") == 1, 30)
    wait_until(lambda: page(whole, "mainpc").of("mesh_agent_memory_bytes", service="apart") > 2**20, 30)
    shown = {name: page(whole, name).kinds for name in ("mainpc", "pc2", "registry")}
    hosts = {**shown["mainpc"], **shown["pc2"]}
    assert _ours(hosts) == _wanted(declared, "host")
    assert _ours(shown["registry"]) == _wanted(declared, "registry")
    for name, file in ELSEWHERE.items():
        assert name in declared and name in Path(__file__).parents[1].joinpath(file).read_text()


def _ours(kinds: Any) -> dict[str, str]:
    return {name: kind for name, kind in kinds.items() if name.startswith("mesh_")}


def _wanted(declared: dict[str, Instrument], program: str) -> dict[str, str]:
    return {name: one.kind for name, one in declared.items() if program in one.programs and name not in ELSEWHERE}


def test_calls_that_are_made_together_share_frames_and_one_alone_has_its_own(calling: Project) -> None:
    done(calling, "near.many", calls=64, outstanding=64)
    for outstanding, calls in ((64, 6400), (1, 200)):
        before = {name: page(calling, name) for name in ("mainpc", "pc2")}
        done(calling, "near.many", calls=calls, outstanding=outstanding)
        after = {name: page(calling, name) for name in ("mainpc", "pc2")}
        for name in ("mainpc", "pc2"):
            for way in ("sent", "received"):
                envelopes = _grown(before[name], after[name], f"mesh_envelopes_{way}_total")
                frames = _grown(before[name], after[name], f"mesh_frames_{way}_total")
                assert envelopes >= calls
                assert envelopes / frames > 4 if outstanding == 64 else envelopes == frames
                assert _grown(before[name], after[name], f"mesh_{way}_bytes_total") > 80 * calls


def _grown(before: Figures, after: Figures, name: str, **labels: str) -> float:
    return after.of(name, **labels) - before.of(name, **labels)


def test_every_outcome_is_counted_where_it_was_answered_and_where_it_was_asked(calling: Project) -> None:
    codes = ["remote_failure", "unknown_operation", "invalid_argument", "unknown_service"]
    assert done(calling, "near.vainly") == codes
    done(calling, "near.many", calls=30, outstanding=3)
    done(calling, "near.crowd")
    far, near = page(calling, "pc2"), page(calling, "mainpc")

    def answered(operation: str, code: str) -> float:
        return far.of("mesh_calls_total", service="far", operation=operation, code=code)

    assert answered("echo", "ok") == 30 and answered("echo", "invalid_argument") == 1
    assert answered("fail", "remote_failure") == 1
    assert answered("other", "unknown_operation") == 1 and "made_up" not in far.text
    assert far.of("mesh_call_seconds_count", service="far") == far.of("mesh_calls_total", service="far") == 36
    assert far.of("mesh_inbox_wait_seconds_count", service="far") == 2
    assert far.of("mesh_inbox_wait_seconds_sum", service="far") == pytest.approx(0.15, rel=0.5)
    assert far.of("mesh_reports_total", service="far", severity="error") == 1
    assert [near.of("mesh_failed_calls_total", service="far", code=code) for code in codes] == [1, 1, 1, 0]
    assert near.of("mesh_failed_calls_total", service="unknown", code="unknown_service") == 1
    [row] = [row for row in calling.json("agents") if row["service"] == "far"]
    assert (row["calls"], row["errors"]) == (36, 3)
    assert row["loop_ms"] == pytest.approx(far.of("mesh_agent_loop_seconds_total", service="far") * 1000, abs=0.2)


def test_links_events_restarts_and_leases_are_seen(calling: Project) -> None:
    near = page(calling, "mainpc")
    assert near.of("mesh_link_up", peer="pc2") == near.of("mesh_link_up", peer="registry") == 1
    assert near.of("mesh_agent_state", service="near", state="ready") == 1
    assert sorted(near.all("mesh_agent_state", service="near")) == [0, 0, 0, 0, 0, 0, 0, 1]
    before = near.of("mesh_events_delivered_total")
    assert calling.mesh("publish", "weather.rain").returncode == 0
    assert page(calling, "mainpc").of("mesh_events_delivered_total") == before + 1
    calling.kill("pc2")

    def told() -> bool:
        there, registry = page(calling, "mainpc"), page(calling, "registry")
        return (registry.of("mesh_registry_leases_ended_total", cause="dead") == 1
                and registry.of("mesh_registry_hosts", state="ok") == 2
                and there.of("mesh_link_up", peer="pc2") == 1
                and page(calling, "pc2").of("mesh_agent_state", service="far", state="ready") == 1)

    wait_until(lambda: _without_trouble(told), 30)


def _without_trouble(condition: Any) -> bool:
    """Ask a condition whose pages may be away for a moment."""
    try:
        return bool(condition())
    except OSError:
        return False


def test_a_blocked_loop_is_seen_while_it_is_blocked(calling: Project) -> None:
    page(calling, "mainpc")
    call = threading.Thread(target=calling.call, args=("near.block",), kwargs={"seconds": 4.0})
    call.start()
    try:
        seen = wait_until(lambda: _still(calling), 20)
        assert seen.of("mesh_figures_age_seconds") > 1
        assert seen.of("mesh_agent_state", service="near", state="ready") == 1
        assert seen.of("process_open_fds") > 0
    finally:
        call.join()
    wait_until(lambda: page(calling, "mainpc").of("mesh_figures_age_seconds") == 0, 10)


def _still(project: Project) -> Figures | None:
    seen = page(project, "mainpc")
    return seen if seen.of("mesh_loop_still_seconds") > 1 else None


def test_a_port_that_is_taken_is_told_and_stops_nothing(pair: Project) -> None:
    with socket.create_server(("127.0.0.1", pair.ports["mainpc"][2])), \
            socket.create_server(("127.0.0.1", pair.registry_metrics_port)):
        pair.up()
        assert pair.call("near.ask", text="hello")["result"] == "hello"
        status = pair.json("status")
        rows = {row["name"]: row["metrics"] for row in status["hosts"]}
        assert rows["mainpc"]["endpoint"] is None and "is taken by" in rows["mainpc"]["reason"]
        assert rows["pc2"] == {"endpoint": f"http://127.0.0.1:{pair.ports['pc2'][2]}/metrics", "reason": None}
        assert "is taken by" in status["registry"]["metrics"]["reason"]
        assert any("metrics page of host mainpc" in group["message"] for group in pair.json("errors"))
        assert "the metrics page of host mainpc cannot listen" in pair.mesh("status").stdout


def test_promtool_finds_nothing_to_say(calling: Project) -> None:
    done(calling, "near.crowd")
    done(calling, "near.vainly")
    for name in ("mainpc", "pc2", "registry"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=page(calling, name).text, text=True,
                                 capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", ""), name
