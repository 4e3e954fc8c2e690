"""`mesh up` and `mesh down`: the ready line, who is not ready and why, and nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import socket

from tests.cli.following import following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

READY = re.compile(r"^3/3 agents ready in \d+\.\d s on mainpc, pc2$", re.MULTILINE)
FAILS = '''
    from mesh import Agent

    class It(Agent):
        """Never comes up."""

        async def setup(self) -> None:
            raise ValueError("no bulb")
'''
FAINT = '''
    from mesh import Agent

    class It(Agent):
        """Is not well."""

        async def check(self) -> str | None:
            return "the bulb is old"
'''


def test_in_the_foreground_it_shows_progress_ends_with_the_ready_line_and_ctrl_c_stops_everything(
    furnished: Project
) -> None:
    with following(furnished, "up", until="another terminal") as up:
        lines = up.text.splitlines()
        assert lines[0] == "starting mesh test (development): mainpc, pc2"
        assert "the registry runs as pid " in up.text and "the supervisor of pc2 runs as pid " in up.text
        assert READY.search(up.text) and "mesh ask" in lines[-1]
        assert run(furnished.root, "ask", "hello").code == 0
        assert up.interrupt() == 0
        assert up.text.endswith("stopped\n")
    assert furnished.processes() == []


def test_a_second_one_is_refused_with_the_pid_of_the_first(furnished: Project) -> None:
    first = furnished.up()
    for words in (["up"], ["up", "--detach"]):
        result = run(furnished.root, *words)
        assert result.code == 2 and f"already runs here as pid {first.pid}, for mainpc, pc2" in result.err
        assert "`mesh down`" in result.err
    one = run(furnished.root, "up", "--host", "pc2")
    assert one.code == 2 and f"pid {first.pid}" in one.err and "`mesh down --host pc2`" in one.err
    assert run(furnished.root, "status").code == 0


def test_detached_it_returns_with_the_ready_line_and_down_stops_it(furnished: Project) -> None:
    started = furnished.mesh("up", "--detach")
    assert started.returncode == 0 and READY.search(started.stdout), started.stdout + started.stderr
    assert "`mesh down`" in started.stderr
    pids = {row["pid"] for row in furnished.json("status")["hosts"]}
    assert len(pids) == 2
    stopped = furnished.mesh("down")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped: mainpc, pc2\n")
    assert furnished.processes() == []
    again = furnished.mesh("down")
    assert (again.returncode, again.stdout) == (0, "nothing is running\n")


def test_for_programs_the_ready_line_and_the_end_are_documents(furnished: Project) -> None:
    told = furnished.json("up", "--detach")
    assert (told["event"], told["ready"], told["total"], told["degraded"]) == ("ready", 3, 3, [])
    assert told["seconds"] > 0
    launcher = json.loads((furnished.home / "run" / "pc2.json").read_text())["pid"]
    assert furnished.json("down") == {"stopped": ["mainpc", "pc2"], "launchers": [launcher]}
    assert furnished.json("down") == {"stopped": [], "launchers": []}


def test_agents_that_are_not_ready_are_named_with_the_reason(furnished: Project) -> None:
    furnished.agent("broken", FAILS, host="pc2")
    furnished.agent("faint", FAINT)
    started = furnished.mesh("up", "--detach")
    assert started.returncode == 0
    lines = started.stdout.splitlines()
    assert re.fullmatch(r"3/5 agents ready, 1 degraded, 1 failed in \d+\.\d s on mainpc, pc2", lines[0])
    assert "    faint@mainpc is degraded: the bulb is old" in lines[1:]
    assert any(line.startswith("    broken@pc2 is ") and "no bulb" in line for line in lines[1:])
    again = run(furnished.root, "agent", "start", "broken")
    assert again.code == 1 and again.out.startswith("broken on pc2 is ") and "no bulb" in again.out


def test_a_start_that_fails_says_why_with_its_code_and_leaves_nothing_behind(furnished: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", furnished.registry_port))
        taken.listen()
        for words in (["up"], ["up", "--detach"]):
            result = furnished.mesh(*words)
            assert result.returncode == 2, result.stdout + result.stderr
            assert str(furnished.registry_port) in result.stderr and "nothing was started" in result.stderr
            assert furnished.processes() == []


def test_one_host_is_started_with_the_registry_if_that_belongs_there(furnished: Project) -> None:
    furnished.spawn("mesh.cli", "up", "--host", "mainpc")  # its ready line waits 10 s for torch@pc2
    wait_until(lambda: run(furnished.root, "status").code == 0, 20)
    document = run(furnished.root, "status", "--json").json()
    assert [(row["name"], row["state"]) for row in document["hosts"]] == [("mainpc", "ok"), ("pc2", "absent")]
    assert document["registry"]["state"] == "ok"
    result = run(furnished.root, "call", "torch.seen", "--json")
    assert result.json()["error"]["code"] == "unavailable" and "pc2" in result.json()["error"]["message"]


def test_without_a_launcher_the_supervisor_is_this_process(furnished: Project) -> None:
    furnished.spawn("registry")
    process = furnished.spawn("mesh.cli", "up", "--host", "pc2", "--no-launcher")
    wait_until(lambda: run(furnished.root, "status").code != 3, 20)
    rows = {row["name"]: row for row in run(furnished.root, "status", "--json").json()["hosts"]}
    assert rows["pc2"]["pid"] == process.pid
    assert run(furnished.root, "down").out == "stopped: pc2\n"
    assert process.wait(5) == 0


def test_all_hosts_on_one_machine_are_on_loopback_whatever_the_environment_says(furnished: Project) -> None:
    hosts = furnished.root / "config" / "hosts.yaml"
    hosts.write_text(hosts.read_text() + "environments: {production: {hosts: {mainpc: {address: 192.0.2.1}, "
                     "pc2: {address: 192.0.2.2}}}}\n")
    with following(furnished, "up", "--environment", "production", until="agents ready"):
        status = ("status", "--environment", "production", "--json")
        wait_until(lambda: {row["state"] for row in run(furnished.root, *status).json()["hosts"]} == {"ok"}, 10)
        assert run(furnished.root, "down", "--environment", "production").code == 0
    assert furnished.processes() == []


def test_down_of_one_host_leaves_the_other(furnished: Project) -> None:
    up = furnished.up()
    assert run(furnished.root, "down", "--host", "pc2").out == "stopped: pc2\n"
    assert run(furnished.root, "down", "--host", "pc2").out == "pc2 is not running\n"
    assert up.poll() is None and run(furnished.root, "call", "lamp.seen").code == 0
    assert run(furnished.root, "down").out == "stopped: mainpc\n"
    assert up.wait(10) == 0 and furnished.processes() == []


def test_down_of_the_only_host_of_a_launcher_ends_that_with_its_registry(furnished: Project) -> None:
    started = furnished.mesh("up", "--host", "mainpc", "--detach")
    assert started.returncode == 0 and "`mesh down --host mainpc`" in started.stderr
    assert run(furnished.root, "down", "--host", "mainpc").out == "stopped: mainpc\n"
    assert furnished.processes() == []


def test_down_waits_for_running_calls_and_says_so_when_its_time_is_over(furnished: Project) -> None:
    up = furnished.up()
    glow = ("call", "lamp.glow", "seconds=3")  # one call at a time: that one waits tells that another runs
    with following(furnished, *glow), following(furnished, *glow):
        wait_until(lambda: run(furnished.root, "agents", "--host", "mainpc", "--json").json()[0]["inbox"] == 1, 10)
        result = run(furnished.root, "down", "--timeout", "0.7")
        assert result.code == 4 and "mainpc (pid " in result.err and "--timeout" in result.err
    assert up.wait(20) == 0


def test_hosts_that_hear_nothing_are_ended_by_their_launcher(furnished: Project) -> None:
    up = furnished.up()
    for pid in [furnished.pid(name) for name in ("mainpc", "pc2")]:
        furnished.kill_pid(pid, signal.SIGSTOP)
    result = run(furnished.root, "down")
    assert result.code == 0 and result.out == "stopped: mainpc, pc2\n"
    assert up.wait(5) is not None and furnished.processes() == []


def test_what_was_told_before_a_restart_is_still_there_after_it(furnished: Project) -> None:
    furnished.mesh("up", "--detach")
    run(furnished.root, "agent", "stop", "request_coordinator")
    error = run(furnished.root, "call", "lamp.blow", "why=because", "--json").json()["error"]
    furnished.mesh("down")
    furnished.mesh("up", "--detach")
    assert run(furnished.root, "errors", "show", error["error_id"], "--json").json()["message"] == "because"
    wait_until(lambda: any(row["service"] == "request_coordinator" and row["state"] == "stopped"
                           for row in run(furnished.root, "agents", "--json").json()), 10)


def test_a_host_says_what_it_waits_for_and_that_the_registry_never_answered(furnished: Project) -> None:
    with following(furnished, "up", "--host", "pc2", until="pc2 waits 10 s at most for the registry at tcp://") as up:
        wait_until(lambda: "    pc2 is not in the mesh: the registry at tcp://" in up.text, 20)
        assert up.interrupt() == 0
