"""What callers see when processes die, and how long it takes; the figures are those of docs/performance.md."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

from tests.eventually import wait_until
from tests.project import Project
from tests.slack import Slack


def test_kill_9_of_a_host_is_known_at_once_and_its_launcher_brings_it_back(pair: Project) -> None:
    pair.up()
    assert pair.call("near.ask", text="a")["result"] == "a"
    pid = pair.pid("pc2")
    pair.kill("pc2")
    wait_until(lambda: pair.call("near.ask", text="b").get("result") == "b", 20)
    assert pair.pid("pc2") != pid
    told = [error["message"] for error in pair.json("errors") if error["host"] == "mainpc"]
    assert any("host pc2 is dead" in message for message in told)


def test_without_a_launcher_the_dead_host_is_named_and_what_it_reported_is_still_there(pair: Project) -> None:
    pair.spawn("registry")
    pair.spawn("mesh.supervisor", "--host", "mainpc")
    pair.spawn("mesh.supervisor", "--host", "pc2")
    wait_until(lambda: pair.call("near.ask", text="a").get("result") == "a", 30)
    pair.call("far.fail")
    pair.kill("pc2")
    answer = wait_until(lambda: _failed(pair), 5)
    assert answer["error"]["code"] == "unavailable" and "pc2" in answer["error"]["message"]
    pair.spawn("mesh.supervisor", "--host", "pc2")
    wait_until(lambda: pair.call("near.ask", text="b").get("result") == "b", 20)
    messages = {error["message"] for error in pair.json("errors")}
    assert "made to fail" in messages


def _failed(pair: Project) -> dict[str, Any] | None:
    answer: dict[str, Any] = pair.call("near.ask", text="b")
    return None if answer["ok"] or answer["error"]["code"] == "unreachable" else answer


def test_calls_in_flight_end_at_once_when_their_host_dies(pair: Project) -> None:
    pair.up()
    waiting = subprocess.Popen(_command("near.ask_slow", "seconds=15"), cwd=pair.root, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: _calls(pair, "near") and _running(pair), 20)
    with Slack() as slack:
        started = time.monotonic()
        pair.kill("pc2")
        printed, _ = waiting.communicate(timeout=10)
        took = time.monotonic() - started
    assert took < 2.0 + slack.lost, printed
    assert '"unreachable"' in printed and '"ok": false' in printed


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mesh.cli", "call", *arguments, "--json"]


def _calls(pair: Project, service: str) -> bool:
    return any(row["service"] == service for row in pair.json("agents"))


def _running(pair: Project) -> bool:
    """Tell whether the call is at pc2: the two hosts are linked and the caller waits."""
    return bool(pair.host("mainpc")["sockets"] >= 5)


def test_the_registry_may_die_and_no_call_fails(pair: Project) -> None:
    pair.up()
    assert pair.call("near.ask", text="a")["ok"]
    before = pair.json("status")["registry"]["epoch"]
    pair.kill("registry")
    for number in range(5):
        assert pair.call("near.ask", text=str(number))["result"] == str(number)
    status = wait_until(lambda: _registry_back(pair, before), 20)
    assert {row["name"]: row["state"] for row in status["hosts"]} == {"mainpc": "ok", "pc2": "ok"}


def _registry_back(pair: Project, before: int) -> dict[str, Any] | None:
    status: dict[str, Any] = pair.json("status")
    return status if status["registry"]["state"] == "ok" and status["registry"]["epoch"] > before else None


def test_a_frozen_host_comes_back_by_itself_and_runs_nothing_that_was_given_up(pair: Project) -> None:
    pair.agent("far", _JOURNAL, host="pc2")
    pair.up()
    assert pair.call("far.echo", text="before")["ok"]
    pid = pair.kill("pc2", signal.SIGSTOP)
    answer = pair.json("call", "near.ask", "text=frozen", "timeout_s=0.5")
    assert not answer["ok"]
    pair.kill_pid(pid, signal.SIGCONT)
    wait_until(lambda: pair.call("near.ask", text="after").get("result") == "after", 20)
    journal = (pair.home / "pc2" / "state" / "far" / "journal").read_text().split()
    assert journal[0] == "before" and journal[-1] == "after" and "frozen" not in journal


_JOURNAL = '''
from mesh import Agent, operation


class It(Agent):
    """Writes down what it was really asked."""

    @operation(idempotent=True)
    async def echo(self, text: str) -> str:
        with (self.folder / "journal").open("a") as journal:
            journal.write(text + "\\n")
        return text
'''


def test_nothing_outlives_a_killed_launcher(pair: Project) -> None:
    up = pair.up()
    assert len(pair.processes()) >= 4
    up.kill()
    up.wait(5)
    wait_until(lambda: not pair.processes(), 15)


def test_ctrl_c_drains_and_stops_everything(pair: Project) -> None:
    up = pair.up()
    up.send_signal(signal.SIGINT)
    assert up.wait(20) == 0, pair.output(up)
    wait_until(lambda: not pair.processes(), 5)
