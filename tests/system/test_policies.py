"""Policies between real processes: seen working, and changed while they work."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.eventually import wait_until
from tests.project import Project

ROOT = Path(__file__).resolve().parents[2]
FAR = '''
import asyncio

from mesh import Agent, operation


class It(Agent):
    """Answers, fails, or takes its time."""

    async def setup(self) -> None:
        self.gate = asyncio.Event()

    @operation(idempotent=True)
    async def echo(self, text: str) -> str:
        return text

    @operation
    async def fail(self) -> None:
        raise RuntimeError("made to fail")

    @operation
    async def hold(self) -> str:
        await self.gate.wait()
        return "released"

    @operation
    async def release(self) -> None:
        self.gate.set()
'''
NEAR = '''
from mesh import Agent, MeshError, operation


class It(Agent):
    """Asks the other."""

    @operation
    async def ask(self) -> str:
        return await self.request("far.echo", text="x", timeout=20.0)

    @operation
    async def codes(self, of: str, times: int) -> list[str]:
        return [await self.code(of) for _ in range(times)]

    async def code(self, target: str) -> str:
        try:
            await self.request(target, timeout=20.0, **({"text": "x"} if target.endswith(".echo") else {}))
        except MeshError as error:
            return error.code
        return ""
'''


def policies(project: Project, service: str = "far") -> dict[str, Any]:
    """Return what each host says of a service's policies."""
    return {row["host"]: row for row in project.json("describe", service)["policies"]}


def rule(told: Any, policy: str, key: str) -> tuple[Any, str]:
    """Return a value in force and where it came from."""
    row = next(row for row in told["rules"] if row["policy"] == policy and row["operation"] is None)
    return next((one["value"], one["origin"]) for one in row["values"] if one["key"] == key)


def retries(told: dict[str, Any]) -> dict[str, int]:
    """Return how many retries each host has made."""
    return {host: row["budget"]["retries"] if row["budget"] else 0 for host, row in told.items()}


def test_attempts_are_changed_on_every_host_without_a_restart(empty: Project) -> None:
    empty.agent("far", FAR, host="pc2", limits={"concurrency": 1, "inbox": 1},
                policies={"retry": {"first_s": 0.01, "reserve": 100}})
    empty.agent("near", NEAR, host="mainpc")
    empty.agent("beside", NEAR, host="pc2")
    empty.up()
    incarnations = [row["incarnation"] for row in empty.json("agents")]
    for _ in range(2):
        empty.spawn("mesh.cli", "--timeout", "300", "call", "far.hold")
    wait_until(lambda: next(row for row in empty.json("agents") if row["service"] == "far")["inbox"] == 1, 20)

    def attempts() -> int:
        """Have an operator and an agent of each host ask in vain; return the operator's attempts."""
        for service in ("near", "beside"):
            error = empty.call(f"{service}.ask")["error"]
            assert (error["code"], error["began"], error["through"]) == ("overloaded", "yes", "far.echo")
        answer = empty.call("far.echo", text="x")
        assert answer["error"]["code"] == "overloaded" and answer["error"]["retry_after"] > 0.0
        return int(answer["attempts"])

    assert attempts() == 3
    told = policies(empty)
    assert rule(told["mainpc"], "retry", "attempts") == (3, "default") and retries(told) == {"mainpc": 4, "pc2": 2}
    assert rule(told["pc2"], "retry", "first_s")[1].startswith("config/agents/far.yaml")
    assert empty.mesh("config", "set", "far", "policies.retry.attempts", "5").returncode == 0
    wait_until(lambda: all(rule(row, "retry", "attempts") == (5, "override") for row in policies(empty).values()), 20)
    assert attempts() == 5 and retries(policies(empty)) == {"mainpc": 4 + 8, "pc2": 2 + 4}
    assert empty.mesh("config", "unset", "far", "policies.retry.attempts").returncode == 0
    wait_until(lambda: empty.call("far.echo", text="x")["attempts"] == 3, 20)
    assert [row["incarnation"] for row in empty.json("agents")] == incarnations
    refused = empty.mesh("config", "set", "far", "policies.retry.attempts", "0")
    assert refused.returncode != 0 and "attempts" in refused.stderr


def test_a_breaker_opens_is_seen_everywhere_and_begins_anew_with_its_instance(empty: Project) -> None:
    empty.agent("far", FAR, host="pc2",
                policies={"breaker": {"failures": 3}, "operations": {"echo": {"retry": None}}})
    empty.agent("near", NEAR, host="mainpc")
    empty.agent("limited", FAR, host="mainpc", policies={"rate": {"calls": 1, "per_s": 60.0}})
    empty.up()
    tail = empty.spawn("mesh.cli", "events", "tail", "breaker.#", "--json")

    def codes(of: str, times: int) -> list[str]:
        found: list[str] = empty.call("near.codes", of=of, times=times)["result"]
        return found

    assert codes("far.fail", 5) == ["remote_failure"] * 3 + ["circuit_open"] * 2
    assert codes("far.echo", 1) == [""]  # one operation that fails closes no other off
    assert codes("limited.echo", 2) == ["", "rate_limited"]  # the same process, by another policy
    told = empty.mesh("why", "far").stdout
    assert "breaker of fail to pc2 is open (3 failures in a row; the last failure: far.fail raised RuntimeError" in told
    row = next(row for row in policies(empty)["mainpc"]["breakers"] if row["operation"] == "fail")
    listed = next(row for row in empty.json("agents") if row["service"] == "far")["breakers"]
    assert [(one["from"], one["operation"], one["state"]) for one in listed] == [("mainpc", "fail", "open")]
    assert "from mainpc: breaker of fail to pc2 is open (3 failures in a row" in empty.mesh("agents").stdout
    assert (row["host"], row["state"], row["reason"]) == ("pc2", "open", "3 failures in a row")
    with urllib.request.urlopen(f"http://127.0.0.1:{empty.ports['mainpc'][2]}/metrics", timeout=10) as page:
        figures = page.read().decode()
    assert 'mesh_breaker_opened_total{service="far"} 1.0' in figures
    assert 'mesh_breaker_state{instance="pc2",operation="fail",service="far"} 1.0' in figures
    assert any("the breaker of mainpc is open" in error["message"] for error in empty.json("errors"))
    assert empty.mesh("config", "set", "far", "policies.breaker.open_s", "0.5").returncode == 0
    wait_until(lambda: codes("far.fail", 1) == ["remote_failure"], 20)  # a trial, in vain
    assert empty.mesh("config", "unset", "far", "policies.breaker.open_s").returncode == 0
    assert codes("far.fail", 5)[-1] == "circuit_open"
    assert empty.mesh("agent", "restart", "far").returncode == 0
    assert codes("far.fail", 1) == ["remote_failure"]  # a new incarnation begins anew
    wait_until(lambda: all(f"breaker.{topic}" in empty.output(tail) for topic in ("opened", "half_open", "closed")), 10)


def test_the_benchmark_of_a_dead_callee_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.policies", "--smoke"], cwd=ROOT, capture_output=True,
                          text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| hangs", "| refuses"))]
    hung, refused = (int(row[2]) for row in rows)  # 60 each, where nothing else keeps the machine busy
    assert 0 < hung <= 60 and 0 < refused <= 60
    assert f"{hung} given_up" in rows[0][-1] and "overloaded" in rows[1][-1]
