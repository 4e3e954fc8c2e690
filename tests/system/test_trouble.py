"""Bad input to a whole mesh: each case names what was asked, what was found and what to do."""

from __future__ import annotations

import os
import socket

import pytest

from tests.eventually import wait_until
from tests.project import Project
from tests.system.conftest import ECHO

SLEEPS = '''
import time

from mesh import Agent, operation


class It(Agent):
    """Blocks the loop while it starts."""

    async def setup(self) -> None:
        time.sleep(3)

    @operation
    async def echo(self, text: str) -> str:
        return text
'''
HANGS = '''
from mesh import Agent, operation


class It(Agent):
    """Never comes up."""

    async def setup(self) -> None:
        await self.clock.sleep(1000)

    @operation
    async def echo(self, text: str) -> str:
        return text
'''
RAISES = HANGS.replace("await self.clock.sleep(1000)", 'raise ValueError("no licence file")')


def test_an_agent_that_hangs_or_raises_in_setup_is_named_and_holds_up_nobody(empty: Project) -> None:
    empty.agent("good", ECHO)
    empty.agent("hanging", HANGS, limits={"start_s": 1.0})
    empty.agent("raising", RAISES)
    up = empty.up()
    assert empty.call("good.echo", text="a")["result"] == "a"
    printed = empty.output(up)
    assert "setup() of hanging did not end within 1 s" in printed
    assert "no licence file" in printed
    rows = {row["service"]: row["state"] for row in empty.json("agents")}
    assert rows["good"] == "ready" and rows["raising"] in ("backoff", "starting", "failed", "quarantined")
    answer = empty.call("raising.echo", text="a")
    assert answer["error"]["code"] == "unavailable" and "no licence file" in answer["error"]["message"]


def test_an_agent_that_blocks_the_loop_in_setup_is_named_with_its_line(empty: Project) -> None:
    empty.agent("good", ECHO)
    empty.agent("blocking", SLEEPS)
    empty.up()
    message = wait_until(lambda: _told(empty, "blocking (setup) held the event loop"), 10)
    assert "setup() at agents/blocking.py:11" in message and "isolation: thread" in message


def _told(empty: Project, words: str) -> str | None:
    return next((error["message"] for error in empty.json("errors") if words in error["message"]), None)


def test_a_file_with_a_syntax_error_or_without_its_class_is_named(empty: Project) -> None:
    empty.agent("good", ECHO)
    empty.agent("broken", "def It(:\n")
    empty.agent("classless", ECHO, class_name="Itt")
    messages = " ".join(str(finding) for finding in empty.json("check"))
    assert "broken.py" in messages and "Itt" in messages and "It" in messages
    assert empty.mesh("check").returncode == 2
    empty.up()
    rows = {row["service"]: row["last_error"] for row in empty.json("agents")}
    assert "broken.py" in rows["broken"] and "Itt" in rows["classless"]
    assert empty.call("good.echo", text="a")["ok"]


@pytest.mark.parametrize("whose", ["registry", "mainpc"])
def test_a_taken_port_is_named_with_where_to_change_it(pair: Project, whose: str) -> None:
    port = pair.registry_port if whose == "registry" else pair.ports["mainpc"][0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = pair.mesh("up")
    assert done.returncode == 2
    assert str(port) in done.stderr and "hosts.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_typo_stops_the_start_with_file_and_line(pair: Project) -> None:
    path = pair.root / "config" / "agents" / "near.yaml"
    path.write_text(path.read_text() + "isolaton: thread\n")
    done = pair.mesh("up")
    assert done.returncode == 2
    assert "near.yaml:" in done.stderr and "isolation" in done.stderr


def test_an_unknown_host_is_refused_with_the_nearest(pair: Project) -> None:
    done = pair.mesh("up", "--host", "mainpcc")
    assert done.returncode == 2 and "mainpc" in done.stderr


def test_without_the_registry_a_host_serves_its_own_and_says_what_is_missing(pair: Project) -> None:
    pair.spawn("mesh.supervisor", "--host", "pc2")
    wait_until(lambda: pair.mesh("call", "far.echo", "text=a").returncode == 0, 20)
    status = pair.json("status")
    assert status["registry"]["state"] == "unreachable"
    assert pair.mesh("status").returncode == 0


def test_a_second_supervisor_with_the_same_name_is_refused_with_the_reason(pair: Project) -> None:
    pair.up()
    again = pair.spawn("mesh.supervisor", "--host", "pc2", MESH_HOSTS__PC2__PORT="0", MESH_HOSTS__PC2__EVENTS_PORT="0")
    assert again.wait(20) == 2
    assert "pc2" in pair.output(again) and "already" in pair.output(again)
    assert pair.call("near.ask", text="a")["result"] == "a"


def test_another_meshs_registry_on_the_port_is_told_apart(pair: Project, tmp_path_factory: pytest.TempPathFactory
                                                           ) -> None:
    pair.spawn("registry")
    hosts = pair.root / "config" / "hosts.yaml"
    wait_until(lambda: _listens(pair.registry_port), 20)
    hosts.write_text(hosts.read_text().replace("mesh: test", "mesh: other"))
    stranger = pair.spawn("mesh.supervisor", "--host", "pc2")
    wait_until(lambda: "'test'" in _log(pair, "pc2") and "'other'" in _log(pair, "pc2"), 20)
    assert stranger.poll() is None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _log(pair: Project, host: str) -> str:
    path = pair.home / host / "logs" / "supervisor.log"
    return path.read_text() if path.exists() else ""


def test_a_home_that_cannot_be_written_is_named(pair: Project) -> None:
    blocked = pair.root / "file"
    blocked.write_text("not a folder")
    done = pair.mesh("up", MESH_HOME=str(blocked / "home"))
    assert done.returncode == 2 and str(blocked) in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_costs_no_call_and_is_told(pair: Project) -> None:
    small = pair.root / "small"
    small.mkdir()
    assert os.system(f"mount -t tmpfs -o size=8m tmpfs {small}") == 0
    try:
        pair.spawn("mesh.cli", "up", MESH_HOME=str(small))
        wait_until(lambda: pair.mesh("call", "near.ask", "text=a", MESH_HOME=str(small)).returncode == 0, 30)
        _fill(small / "ballast")
        pair.mesh("call", "far.fail", MESH_HOME=str(small))
        assert pair.mesh("call", "near.ask", "text=a", MESH_HOME=str(small)).returncode == 0
        assert wait_until(lambda: "disk" in pair.mesh("errors", MESH_HOME=str(small)).stdout, 20)
    finally:
        pair.close()
        os.system(f"umount -l {small}")


def _fill(path: object) -> None:
    with open(str(path), "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError:
            return
