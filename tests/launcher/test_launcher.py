"""What the launcher started lives as long as it should and never longer; every end of a process is told."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh.launcher.claim import ask_to_leave, running
from mesh.launcher.kept import LauncherEvent
from mesh.launcher.launcher import Launcher, default_commands
from mesh.launcher.outline import Outline
from tests.eventually import wait_until

LIMIT = 30.0

LAUNCHER = """
import json, sys
from pathlib import Path
from mesh.errors import MeshError
from mesh.launcher.launcher import Launcher
from mesh.launcher.outline import Outline

plan = json.loads(sys.argv[1])
home = Path(plan["home"])
outline = Outline("test", "development", home, home, plan["registry_host"], 100)

def show(event):
    print(json.dumps([event.kind, event.child, event.text, dict(event.data)]), flush=True)

try:
    launcher = Launcher(outline, plan["hosts"], on_event=show, commands=plan["commands"], drain_s=plan["drain_s"])
    sys.exit(launcher.run())
except MeshError as error:
    print(json.dumps(["error", None, error.message, {}]), flush=True)
    sys.exit(error.exit_code)
"""

CHILD = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from mesh.parent import StatusPipe, tie_to_parent

name, behaviour, marks = sys.argv[1], sys.argv[2], Path(sys.argv[3])
tie_to_parent(limit=0.5)
status = StatusPipe(int(sys.argv[5]))

def end(number, frame):
    status.send("stopping")
    (marks / f"{name}.ended").write_text(repr(time.monotonic()))
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
print(name, "prints", behaviour, flush=True)
if behaviour == "crash":
    sys.exit(1)
if behaviour == "crash once" and not (marks / f"{name}.crashed").exists():
    (marks / f"{name}.crashed").touch()
    sys.exit(3)
if behaviour == "refuse":
    status.send("failed", message="port 7410 is taken by pid 1")
    sys.exit(2)
if behaviour == "refuse on stderr":
    print("no write permission", file=sys.stderr)
    sys.exit(2)
if behaviour == "leave":
    status.send("ready", host=name, ready=1, total=1)
    sys.exit(0)
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if behaviour == "family":
    status.send("agent", pid=subprocess.Popen(["sleep", "1000"]).pid)
os.write(int(sys.argv[5]), b"this is no status line\\n")
status.send("ready", host=name, ready=2, total=3, degraded=[{"service": "nlu", "reason": "waits"}], failed=[])
while True:
    time.sleep(1000)
"""


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


Told = tuple[str, str | None, str, dict[str, Any]]


class Mesh:
    """A launcher in a process of its own, with what it told so far; the registry belongs to its first host."""

    def __init__(self, home: Path, children: dict[str, str], drain_s: float) -> None:
        commands = {name: [sys.executable, "-c", CHILD, name, behaviour, str(home)]
                    for name, behaviour in children.items()}
        hosts = [name for name in children if name != "registry"]
        plan = {"home": str(home), "commands": commands, "drain_s": drain_s, "hosts": hosts,
                "registry_host": hosts[0] if "registry" in children else "elsewhere"}
        self.process = subprocess.Popen([sys.executable, "-c", LAUNCHER, json.dumps(plan)], stdout=subprocess.PIPE)
        self.count = len(children)
        self.told: list[Told] = []
        self.pids: dict[str, list[int]] = {}
        self._new: queue.Queue[Told | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._new.put(tuple(json.loads(line)))
        self._new.put(None)

    def next(self, kind: str, child: str | None = None) -> Told:
        """Return the next event of a kind (of a child), skipping others."""
        while True:
            event = self._new.get(timeout=LIMIT)
            assert event is not None, f"it ended without telling {kind}; it told {self.told}"
            self.told.append(event)
            if event[0] == "started":
                self.pids.setdefault(str(event[1]), []).append(event[3]["pid"])
            if event[0] == kind and child in (None, event[1]):
                return event

    def exit_code(self) -> int:
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        while (event := self._new.get_nowait()) is not None:
            self.told.append(event)
        return code

    def all_up(self) -> None:
        """Wait until every child is ready, the registry too."""
        up: set[str | None] = set()
        while len(up) < self.count:
            up.add(self.next("up")[1])

    def kinds(self, child: str) -> list[str]:
        return [event[0] for event in self.told if event[1] == child and event[0] not in ("status", "up")]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pids in self.pids.values():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        self._reader.join(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()


Start = Callable[..., Mesh]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    meshes: list[Mesh] = []

    def begin(children: dict[str, str], drain_s: float = 10.0) -> Mesh:
        meshes.append(Mesh(tmp_path, children, drain_s))
        return meshes[-1]

    yield begin
    for mesh in meshes:
        mesh.close()


ALL_GOOD = {"registry": "good", "mainpc": "good", "pc2": "good"}


# --- start


def test_the_ready_event_sums_up_every_host_once(start: Start) -> None:
    mesh = start(ALL_GOOD)
    _, child, text, data = mesh.next("ready")
    assert child is None
    assert (data["event"], data["ready"], data["total"], data["hosts"]) == ("ready", 4, 6, ["mainpc", "pc2"])
    assert data["degraded"] == [{"service": "nlu", "reason": "waits", "host": host} for host in ("mainpc", "pc2")]
    assert (data["failed"], data["missing"]) == ([], [])
    assert text == f"4/6 agents ready, 2 degraded in {data['seconds']:.1f} s on mainpc, pc2"
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0
    assert [event[0] for event in mesh.told].count("ready") == 1


def test_each_child_leads_its_own_session_and_has_no_input(start: Start) -> None:
    mesh = start(ALL_GOOD)
    mesh.next("ready")
    for (pid,) in mesh.pids.values():
        assert os.getsid(pid) == os.getpgid(pid) == pid != os.getsid(mesh.process.pid)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_what_children_print_goes_to_the_logs_of_their_host(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    assert (tmp_path / "pc2/logs/supervisor.out").read_text() == "pc2 prints good\n"
    assert (tmp_path / "mainpc/logs/registry.out").read_text() == "registry prints good\n"


def test_who_runs_is_written_down_and_taken_back_at_the_end(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD)
    mesh.next("ready")
    (found,) = running(tmp_path)
    assert (found.pid, found.hosts) == (mesh.process.pid, ("mainpc", "pc2"))
    assert found.children == {name: pids[0] for name, pids in mesh.pids.items()}
    mesh.send(signal.SIGTERM)
    mesh.exit_code()
    assert running(tmp_path) == [] and not list((tmp_path / "run").glob("*.json"))


@pytest.mark.parametrize("wanted", [ALL_GOOD, {"pc2": "good"}, {"pc2": "good", "pc3": "good"}])
def test_a_second_launcher_of_a_host_is_refused_naming_the_first(start: Start, wanted: dict[str, str]) -> None:
    first = start(ALL_GOOD)
    first.next("ready")
    second = start(wanted)
    assert f"already runs here as pid {first.process.pid}, for mainpc, pc2" in second.next("error")[2]
    assert second.exit_code() == 2
    assert all(not gone(pid) for (pid,) in first.pids.values())


def test_a_second_launcher_of_other_hosts_lives_beside_the_first(start: Start, tmp_path: Path) -> None:
    first, second = start({"registry": "good", "mainpc": "good"}), start({"pc2": "good"})
    first.all_up()
    second.all_up()
    pids = {"mainpc": first.process.pid, "pc2": second.process.pid}
    assert {one.hosts[0]: one.pid for one in running(tmp_path)} == pids
    first.send(signal.SIGTERM)
    assert first.exit_code() == 0
    assert [one.hosts for one in running(tmp_path)] == [("pc2",)]
    assert not gone(second.pids["pc2"][0])


# --- restarts


def test_a_killed_host_is_told_and_started_again_and_the_others_notice_nothing(start: Start) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    (old,) = mesh.pids["pc2"]
    os.kill(old, signal.SIGKILL)
    _, _, text, data = mesh.next("restarting", "pc2")
    assert text.startswith(f"the supervisor of pc2 (pid {old}) was killed by SIGKILL; it is started again in 0.1 s")
    assert (data["pid"], data["code"]) == (old, -9)
    mesh.next("started", "pc2")
    mesh.next("up", "pc2")
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0
    assert mesh.pids["pc2"][-1] != old
    assert len(mesh.pids["mainpc"]) == len(mesh.pids["registry"]) == 1


def test_a_killed_registry_is_started_again(start: Start) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    os.kill(mesh.pids["registry"][0], signal.SIGKILL)
    assert "the registry (pid" in mesh.next("restarting", "registry")[2]
    mesh.next("up", "registry")
    assert [len(mesh.pids[host]) for host in ("mainpc", "pc2")] == [1, 1]


def test_the_pid_written_down_follows_a_restart(start: Start, tmp_path: Path) -> None:
    mesh = start({"pc2": "good"})
    mesh.next("ready")
    os.kill(mesh.pids["pc2"][0], signal.SIGKILL)
    mesh.next("up", "pc2")
    (found,) = running(tmp_path)
    assert found.children == {"pc2": mesh.pids["pc2"][1]}


def test_a_host_that_fails_once_at_its_start_comes_up(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "crash once"})
    assert "ended with exit code 3; it is started again" in mesh.next("restarting", "pc2")[2]
    assert mesh.next("ready")[3]["hosts"] == ["mainpc", "pc2"]


def test_a_host_that_never_comes_up_is_given_up_and_the_others_go_on(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "crash"})
    data = mesh.next("ready")[3]
    assert data["hosts"] == ["mainpc"] and data["missing"] == [{"host": "pc2", "reason": "quarantined"}]
    assert mesh.kinds("pc2") == ["started", "restarting", "started", "restarting", "started", "quarantined"]
    (quarantined,) = [event for event in mesh.told if event[0] == "quarantined"]
    assert "stays down: it failed 3 times before it was ever ready; see " in quarantined[2]
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0


def test_when_every_host_is_given_up_the_registry_stops_too(start: Start) -> None:
    mesh = start({"registry": "good", "pc2": "crash"})
    assert mesh.exit_code() == 1
    assert not [event for event in mesh.told if event[0] == "ready"]


@pytest.mark.parametrize(
    ("behaviour", "says"), [("refuse", "port 7410 is taken by pid 1"), ("refuse on stderr", "no write permission")]
)
def test_a_host_that_cannot_start_is_not_tried_again_and_its_message_is_shown(
    start: Start, behaviour: str, says: str
) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": behaviour})
    text = mesh.next("refused", "pc2")[2]
    assert text.startswith("the supervisor of pc2 cannot start: ") and says in text
    assert mesh.exit_code() == 2
    assert mesh.kinds("pc2") == ["started", "refused"]


def test_a_start_that_cannot_be_whole_ends_with_code_2_and_leaves_nothing(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "refuse"})
    assert "the supervisor of pc2 cannot start" in mesh.next("stopping")[2]
    assert mesh.exit_code() == 2


@pytest.mark.parametrize(("behaviour", "code"), [("refuse", 2), ("crash", 1)])
def test_without_a_registry_that_ever_ran_nothing_is_left_running(start: Start, behaviour: str, code: int) -> None:
    mesh = start({"registry": behaviour, "mainpc": "good", "pc2": "good"})
    told = mesh.next("stopping")[2]
    assert "there is no registry" in told or "the registry cannot start" in told
    assert mesh.exit_code() == code


def test_a_program_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    told: list[LauncherEvent] = []
    launcher = Launcher(outline(tmp_path), ["pc2"], on_event=told.append,
                        commands={"pc2": ["/no/such/program"]})
    assert launcher.run() == 1
    assert [event.kind for event in told] == ["restarting", "restarting", "quarantined"]
    assert "the supervisor of pc2 cannot be started: [Errno 2]" in told[0].text


def test_what_this_user_may_not_use_is_not_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch(0o600)
    told: list[LauncherEvent] = []
    assert Launcher(outline(tmp_path), ["pc2"], on_event=told.append, commands={"pc2": [str(program)]}).run() == 2
    assert [event.kind for event in told] == ["refused", "stopping"]
    assert f"{program} cannot be written: Permission denied; make it writable, or set MESH_HOME" in told[0].text


def test_a_host_that_was_shut_down_stays_down(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "leave"})
    assert "ended as asked" in mesh.next("ended", "pc2")[2]
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0
    assert len(mesh.pids["pc2"]) == 1


def test_when_every_host_was_shut_down_the_registry_stops_and_all_is_over(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "leave", "pc2": "leave"})
    assert mesh.exit_code() == 0
    assert mesh.kinds("registry") == ["started", "ended"]


# --- one host of several


def leave(mesh: Mesh, home: Path, host: str) -> None:
    """Ask a launcher to give up a host, as `mesh down --host` does, and wait until it has."""
    (found,) = [one for one in running(home) if one.pid == mesh.process.pid]
    ask_to_leave(home, found, host)
    wait_until(lambda: not any(host in one.hosts for one in running(home)), LIMIT)


def test_a_host_that_was_shut_down_may_be_started_by_another_launcher(start: Start, tmp_path: Path) -> None:
    first = start({"registry": "good", "mainpc": "good", "pc2": "leave"})
    first.next("ended", "pc2")
    wait_until(lambda: [one.hosts for one in running(tmp_path)] == [("mainpc",)], LIMIT)
    second = start({"pc2": "good"})
    second.all_up()
    first.send(signal.SIGTERM)
    assert first.exit_code() == 0
    assert [one.pid for one in running(tmp_path)] == [second.process.pid] and not gone(second.pids["pc2"][0])


def test_a_host_can_be_given_up_and_the_others_stay(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    leave(mesh, tmp_path, "pc2")
    assert (tmp_path / "pc2.ended").exists() and gone(mesh.pids["pc2"][0])
    assert not gone(mesh.pids["mainpc"][0]) and not gone(mesh.pids["registry"][0])
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0
    assert mesh.kinds("pc2") == ["started", "stopping", "ended"]


def test_a_host_that_hears_nothing_is_killed_at_the_limit_and_stays_down(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD, drain_s=0.3)
    mesh.next("ready")
    os.kill(mesh.pids["pc2"][0], signal.SIGSTOP)
    leave(mesh, tmp_path, "pc2")
    mesh.next("killing", "pc2")
    assert "was killed by SIGKILL" in mesh.next("ended", "pc2")[2]
    assert gone(mesh.pids["pc2"][0]) and mesh.process.poll() is None


def test_a_host_that_crashes_again_and_again_can_be_given_up(start: Start, tmp_path: Path) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "crash"})
    mesh.next("restarting", "pc2")
    leave(mesh, tmp_path, "pc2")
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0


def test_the_registry_ends_with_its_own_host_and_starts_with_it_elsewhere(start: Start, tmp_path: Path) -> None:
    first = start(ALL_GOOD)
    first.all_up()
    leave(first, tmp_path, "mainpc")
    assert gone(first.pids["mainpc"][0]) and gone(first.pids["registry"][0]) and not gone(first.pids["pc2"][0])
    second = start({"registry": "good", "mainpc": "good"})
    second.all_up()
    assert first.process.poll() is None


def test_a_host_that_was_given_up_is_free_unless_its_registry_runs(start: Start, tmp_path: Path) -> None:
    mesh = start({"registry": "good", "mainpc": "crash", "pc2": "crash", "pc3": "good"})
    mesh.next("ready")
    wait_until(lambda: [one.hosts for one in running(tmp_path)] == [("mainpc", "pc3")], LIMIT)
    leave(mesh, tmp_path, "mainpc")
    assert gone(mesh.pids["registry"][0]) and not gone(mesh.pids["pc3"][0])


def test_a_launcher_whose_last_host_is_given_up_ends(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    leave(mesh, tmp_path, "mainpc")
    leave(mesh, tmp_path, "pc2")
    assert mesh.exit_code() == 0


# --- the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_hosts_stop_first_and_the_registry_last(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    mesh.send(number)
    assert mesh.exit_code() == 0
    ended = {name: float((tmp_path / f"{name}.ended").read_text()) for name in ALL_GOOD}
    assert ended["registry"] > max(ended["mainpc"], ended["pc2"])
    assert [event[1] for event in mesh.told if event[0] == "ended"][-1] == "registry"


def test_a_host_that_does_not_stop_is_killed_at_the_limit(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "stubborn"}, drain_s=0.3)
    mesh.next("ready")
    mesh.send(signal.SIGTERM)
    assert "the supervisor of pc2 did not stop within 0.3 s and is killed" in mesh.next("killing", "pc2")[2]
    assert mesh.exit_code() == 0
    assert all(gone(pid) for (pid,) in mesh.pids.values())


def test_a_frozen_host_is_killed_at_the_limit(start: Start) -> None:
    mesh = start(ALL_GOOD, drain_s=0.3)
    mesh.next("ready")
    os.kill(mesh.pids["mainpc"][0], signal.SIGSTOP)
    mesh.send(signal.SIGTERM)
    mesh.next("killing", "mainpc")
    assert mesh.exit_code() == 0


def test_a_second_ctrl_c_ends_everything_at_once(start: Start) -> None:
    mesh = start({"registry": "stubborn", "mainpc": "stubborn", "pc2": "stubborn"}, drain_s=1000.0)
    mesh.all_up()
    mesh.send(signal.SIGINT)
    mesh.next("stopping")
    mesh.send(signal.SIGINT)
    assert mesh.next("killing")[2] == "killed at once, as asked"
    assert mesh.exit_code() == 1
    assert all(gone(pid) for (pid,) in mesh.pids.values())


def test_a_host_that_waits_to_be_started_again_does_not_delay_the_end(start: Start) -> None:
    mesh = start({"registry": "good", "mainpc": "good", "pc2": "crash"})
    mesh.next("restarting", "pc2")
    mesh.send(signal.SIGTERM)
    assert mesh.exit_code() == 0


def test_what_a_child_started_ends_with_it(start: Start) -> None:
    mesh = start({"pc2": "family"})
    grandchild = mesh.next("status")[3]["pid"]
    mesh.next("ready")
    os.kill(mesh.pids["pc2"][0], signal.SIGKILL)
    mesh.next("restarting")
    wait_until(lambda: gone(grandchild), LIMIT)


def test_a_terminal_that_goes_away_does_not_take_the_mesh_along(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD)
    mesh.next("ready")
    assert mesh.process.stdout is not None
    reader = mesh.process.stdout.fileno()
    (old,) = mesh.pids["pc2"]
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)  # nobody reads the pipe any more
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: [one for one in running(tmp_path) if one.children.get("pc2") not in (None, old)], LIMIT)
    assert mesh.process.poll() is None


# --- the death of the launcher


def test_nothing_outlives_a_killed_launcher(start: Start) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    mesh.send(signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for (pid,) in mesh.pids.values()), limit=1.0)


def test_hosts_of_a_killed_launcher_still_drain(start: Start, tmp_path: Path) -> None:
    mesh = start(ALL_GOOD)
    mesh.all_up()
    mesh.send(signal.SIGKILL)
    wait_until(lambda: all((tmp_path / f"{name}.ended").exists() for name in ALL_GOOD), LIMIT)


def test_a_stubborn_child_outlives_a_killed_launcher_by_its_limit_only(start: Start) -> None:
    mesh = start({"registry": "stubborn", "pc2": "stubborn"})
    mesh.all_up()
    mesh.send(signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for (pid,) in mesh.pids.values()), limit=5.0)


def test_the_next_launcher_waits_for_what_a_killed_one_left(start: Start) -> None:
    first = start({"pc2": "stubborn"})
    first.next("ready")
    first.send(signal.SIGKILL)
    first.process.wait()
    second = start({"pc2": "good"})
    assert str(first.pids["pc2"][0]) in second.next("waiting")[2]
    second.next("started", "pc2")
    assert gone(first.pids["pc2"][0])
    second.next("ready")


def test_what_a_killed_launcher_left_of_other_hosts_is_in_nobodys_way(start: Start) -> None:
    first = start({"pc2": "stubborn"})
    first.next("ready")
    first.send(signal.SIGKILL)
    first.process.wait()
    second = start({"mainpc": "good"})
    second.next("ready")
    assert "waiting" not in [event[0] for event in second.told]


# --- what it is made from


def outline(home: Path) -> Outline:
    return Outline("test", "production", home, home, "mainpc", 100)


def test_the_commands_name_project_environment_and_host(tmp_path: Path) -> None:
    common = ["--config", str(tmp_path), "--environment", "production"]
    assert default_commands(outline(tmp_path), ["mainpc"]) == {
        "registry": [sys.executable, "-m", "registry", *common],
        "mainpc": [sys.executable, "-m", "mesh.supervisor", "--host", "mainpc", *common],
    }
    assert list(default_commands(outline(tmp_path), ["pc2", "mainpc"])) == ["registry", "pc2", "mainpc"]
    assert list(default_commands(outline(tmp_path), ["pc2"])) == ["pc2"]


def test_the_launcher_imports_neither_zeromq_nor_agents() -> None:
    program = "import sys, mesh.launcher.launcher; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"zmq", "pydantic", "asyncio", "msgpack", "mesh.agent", "mesh.config"} & set(loaded)
