"""Several `mesh up` of one project on one machine: each keeps its own hosts, and hosts change hands."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil

from tests.eventually import wait_until
from tests.project import START_LIMIT, Project

Up = subprocess.Popen[str]


def launched(pair: Project, *hosts: str) -> list[Up]:
    """Start `mesh up --host` for each host as in terminals of their own, at once, and return when all are ready."""
    ups = [pair.spawn("mesh.cli", "up", "--host", host) for host in hosts]
    for up in ups:
        ready(pair, up)
    return ups


def ready(pair: Project, up: Up) -> None:
    wait_until(lambda: "agents ready" in pair.output(up) or up.poll() is not None, START_LIMIT)
    assert up.poll() is None, pair.output(up)


def talks(pair: Project) -> bool:
    """Tell whether the hosts reach each other, once both know of it."""
    return bool(wait_until(lambda: pair.call("near.ask", text="a").get("result") == "a", 20))


def parent(pair: Project, name: str) -> int:
    return psutil.Process(pair.pid(name)).ppid()


def test_hosts_started_in_two_terminals_talk_and_each_ends_with_its_own(pair: Project) -> None:
    mainpc, pc2 = launched(pair, "mainpc", "pc2")
    assert talks(pair)
    parents = {name: parent(pair, name) for name in ("registry", "mainpc", "pc2")}
    assert parents == {"registry": mainpc.pid, "mainpc": mainpc.pid, "pc2": pc2.pid}
    assert {row["name"]: row["state"] for row in pair.json("status")["hosts"]} == {"mainpc": "ok", "pc2": "ok"}
    pc2.send_signal(signal.SIGINT)
    assert pc2.wait(20) == 0
    assert mainpc.poll() is None and pair.call("near.ask", text="a")["error"]["code"] == "unavailable"
    mainpc.send_signal(signal.SIGINT)
    assert mainpc.wait(20) == 0
    wait_until(lambda: not pair.processes(), 5)


def test_a_host_that_runs_is_refused_with_the_command_that_stops_it(pair: Project) -> None:
    pc2 = pair.spawn("mesh.cli", "up", "--host", "pc2")  # its ready line waits 10 s for the registry
    wait_until(lambda: pair.call("far.echo", text="a")["ok"], 20)
    for words in (("up",), ("up", "--host", "pc2"), ("up", "--host", "pc2", "--detach"),
                  ("up", "--host", "pc2", "--no-launcher")):
        done = pair.mesh(*words)
        assert done.returncode == 2 and f"pid {pc2.pid}, for pc2" in done.stderr
        assert "`mesh down --host pc2`" in done.stderr
    assert "`mesh up --host mainpc`" in pair.mesh("up").stderr
    assert pc2.poll() is None and pair.call("far.echo", text="a")["ok"]


def test_a_host_that_was_taken_down_is_started_again_while_the_other_launcher_lives(pair: Project) -> None:
    mainpc, pc2 = launched(pair, "mainpc", "pc2")
    done = pair.mesh("down", "--host", "pc2")
    assert (done.returncode, done.stdout) == (0, "stopped: pc2\n")
    assert pc2.wait(5) == 0 and mainpc.poll() is None
    (again,) = launched(pair, "pc2")
    assert talks(pair) and parent(pair, "pc2") == again.pid
    assert pair.mesh("down").stdout == "stopped: mainpc, pc2\n"
    assert (mainpc.wait(5), again.wait(5)) == (0, 0)
    assert pair.processes() == []


def test_a_host_of_a_launcher_of_all_can_be_taken_down_and_started_alone(pair: Project) -> None:
    every = pair.up()
    assert talks(pair)
    assert pair.json("down", "--host", "pc2") == {"stopped": ["pc2"], "launchers": []}
    (pc2,) = launched(pair, "pc2")
    assert talks(pair) and parent(pair, "pc2") == pc2.pid
    told = pair.json("down")
    assert told["stopped"] == ["mainpc", "pc2"] and sorted(told["launchers"]) == sorted([every.pid, pc2.pid])
    assert pair.processes() == []


def test_the_registry_goes_and_comes_with_its_host(pair: Project) -> None:
    every = pair.up()
    before = pair.json("status")["registry"]["epoch"]
    far = pair.pid("pc2")
    assert pair.mesh("down", "--host", "mainpc").stdout == "stopped: mainpc\n"
    assert pair.json("status")["registry"]["state"] == "unreachable" and every.poll() is None
    (mainpc,) = launched(pair, "mainpc")
    assert talks(pair)
    assert parent(pair, "registry") == mainpc.pid and pair.json("status")["registry"]["epoch"] > before
    assert pair.pid("pc2") == far
    assert pair.json("down", "--host", "pc2") == {"stopped": ["pc2"], "launchers": [every.pid]}
    assert every.wait(5) == 0


def test_after_the_death_of_one_launcher_its_host_is_started_again_and_the_other_goes_on(pair: Project) -> None:
    mainpc, pc2 = launched(pair, "mainpc", "pc2")
    os.kill(pc2.pid, signal.SIGKILL)
    pc2.wait(5)
    launched(pair, "pc2")
    assert talks(pair)
    assert mainpc.poll() is None
