"""What an operator wants lasts: stopped stays stopped, a setting changed in the registry wins over the files."""

from __future__ import annotations

import functools
import signal

from tests.eventually import wait_until
from tests.project import Project

GREETER = '''
from mesh import Agent, AgentConfig, operation


class It(Agent):
    """Greets."""

    class Config(AgentConfig):
        word: str = "hello"

    @operation(idempotent=True)
    async def greet(self) -> str:
        return self.config.word
'''


def test_what_the_operator_stopped_stays_stopped_over_every_restart(pair: Project) -> None:
    up = pair.up()
    assert pair.mesh("agent", "stop", "far").returncode == 0
    answer = pair.call("near.ask", text="a")
    assert answer["error"]["code"] == "unavailable" and "stopped by an operator" in answer["error"]["message"]
    up.terminate()
    assert up.wait(20) == 0
    pair.up()
    assert _state(pair, "far") == "stopped"
    pair.kill("registry")
    wait_until(lambda: pair.json("status")["registry"]["state"] == "ok", 20)
    assert _state(pair, "far") == "stopped"
    assert pair.mesh("agent", "start", "far").returncode == 0
    wait_until(lambda: pair.call("near.ask", text="a")["ok"], 10)


def _state(pair: Project, service: str) -> str:
    return next(str(row["state"]) for row in pair.json("agents") if row["service"] == service)


def test_without_a_registry_an_agent_stops_all_the_same_and_the_operator_is_warned(pair: Project) -> None:
    pair.spawn("mesh.supervisor", "--host", "pc2")
    wait_until(lambda: pair.call("far.echo", text="a")["ok"], 20)
    done = pair.mesh("agent", "stop", "far")
    assert "not remembered" in done.stdout + done.stderr
    assert pair.call("far.echo", text="a")["error"]["code"] == "unavailable"


def test_a_registry_override_wins_over_file_and_environment_and_lasts(empty: Project) -> None:
    empty.agent("greeter", GREETER, settings={"word": "good day"})
    up = empty.up()
    assert empty.call("greeter.greet")["result"] == "good day"
    empty.call("registry.set_override", service="greeter", key="word", value="servus")
    wait_until(lambda: empty.call("greeter.greet").get("result") == "servus", 10)
    up.terminate()
    up.wait(20)
    up = empty.spawn("mesh.cli", "up", MESH_AGENTS__GREETER__SETTINGS__WORD="ahoy")
    wait_until(lambda: empty.call("greeter.greet").get("result") == "servus", 20)
    setting = next(one for one in empty.json("describe", "greeter")["settings"] if one["key"] == "word")
    assert setting["value"] == "servus" and "override" in setting["origin"]
    empty.call("registry.unset_override", service="greeter", key="word")
    wait_until(lambda: empty.call("greeter.greet").get("result") == "ahoy", 10)


def test_what_was_stopped_stays_so_when_host_and_registry_are_killed_or_the_database_is_gone(pair: Project) -> None:
    pair.up()
    assert pair.mesh("agent", "stop", "far").returncode == 0
    for lost in (False, True):
        pids = [pair.pid("pc2"), pair.pid("registry")]
        if lost:
            files = list((pair.home / "mainpc" / "state").glob("registry.db*"))
            assert files
            for file in files:
                file.unlink()
        for pid in pids:
            pair.kill_pid(pid, signal.SIGKILL)
        wait_until(functools.partial(_back, pair, pids[0]), 40)
        row = next(row for row in pair.json("agents") if row["service"] == "far")
        assert (row["state"], row["incarnation"]) == ("stopped", 0), "it was never started"
    assert pair.mesh("agent", "start", "far").returncode == 0
    wait_until(lambda: pair.call("near.ask", text="a")["ok"], 20)


def _back(pair: Project, before: int) -> bool:
    told = pair.json("status")
    return told["registry"]["state"] == "ok" and any(
        row["name"] == "pc2" and row["state"] == "ok" and row["pid"] != before for row in told["hosts"]
    )
