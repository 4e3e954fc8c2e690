"""The daemon as a process, with hosts that speak to it over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from mesh.config import MeshConfig, load
from mesh.errors import InvalidArgument, PermissionDenied, RemoteFailure, StartError
from mesh.port import ensure_free, holder
from tests.eventually import eventually, wait_until
from tests.project import free_ports
from tests.registry.disk import Disk, small_disk
from tests.registry.fake_host import FakeHost
from tests.slack import Slack

ROOT = Path(__file__).resolve().parents[2]


def project(folder: Path, *, mesh: str = "test", port: int | None = None) -> Path:
    """Make a project of two hosts in a folder and return it."""
    ports = free_ports(7)
    rows = "".join(
        f"  {name}: {{address: 127.0.0.1, port: {a}, events_port: {b}, metrics_port: {c}}}\n"
        for name, (a, b, c) in (("mainpc", ports[:3]), ("pc2", ports[3:6]))
    )
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: {mesh}\nregistry: {{host: mainpc, port: {port or ports[6]}, metrics_port: 0}}\nhosts:\n{rows}"
        "environments: {development: {}}\n"
    )
    return folder


class Process:
    """`python -m registry` and what it says on its status descriptor."""

    def __init__(self, folder: Path) -> None:
        self._ours, theirs = os.pipe()
        environ = {**os.environ, "MESH_HOME": str(folder / ".mesh"), "PYTHONPATH": str(ROOT)}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "registry", "--config", str(folder), "--status-fd", str(theirs)],
            pass_fds=(theirs,), env=environ, stderr=subprocess.PIPE, text=True, cwd=folder,
        )
        os.close(theirs)
        self._status: IO[str] = os.fdopen(self._ours)
        self._folder = folder

    @property
    def config(self) -> MeshConfig:
        """The configuration it runs with."""
        return load(self._folder, environ={"MESH_HOME": str(self._folder / ".mesh")})

    def event(self) -> dict[str, Any]:
        """Return the next thing it says, an empty map at its end."""
        line = self._status.readline()
        return json.loads(line) if line else {}

    def ends(self, number: int | None = None) -> tuple[int, str]:
        """Wait for its end, if need be after a signal; returns exit code and what it printed."""
        if number is not None:
            self.popen.send_signal(number)
        _, printed = self.popen.communicate(timeout=10)
        return self.popen.returncode, printed

    def close(self) -> None:
        """Leave nothing behind."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate(timeout=10)
        self._status.close()


@pytest.fixture
def start() -> Iterator[Callable[[Path], Process]]:
    """Start registries that end with the test."""
    processes: list[Process] = []

    def begin(folder: Path) -> Process:
        processes.append(Process(folder))
        return processes[-1]

    yield begin
    for process in processes:
        process.close()


Start = Callable[[Path], Process]


@asynccontextmanager
async def hosts(config: MeshConfig, *names: str) -> AsyncIterator[list[FakeHost]]:
    """Give hosts that have joined, each with a service of its own name."""
    found: list[FakeHost] = []
    try:
        for name in names:
            found.append(FakeHost(config, name))
            await found[-1].joins(f"{name}_service")
        yield found
    finally:
        for one in found:
            one.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_hosts_find_each_other_through_it_and_it_ends_cleanly(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    assert registry.event() == {"event": "ready", "endpoint": f"tcp://127.0.0.1:{registry.config.registry.port}"}

    async def work() -> None:
        async with hosts(registry.config, "mainpc", "pc2") as (mainpc, pc2):
            await eventually(lambda: mainpc.lists("pc2_service") and pc2.lists("mainpc_service"))
            status = await mainpc.ask("status")
            assert {row["name"]: row["state"] for row in status["hosts"]} == {"mainpc": "ok", "pc2": "ok"}
            assert status["security"] == "curve" and status["epoch"] == mainpc.directory.position[0]
            with pytest.raises(InvalidArgument, match="did you mean pc2"):
                await mainpc.ask("set_desired", service="pc2_service", host="pc", desired="stopped")
            await mainpc.ask("set_desired", service="pc2_service", host="pc2", desired="stopped")
            await eventually(lambda: pc2.directory.view.desired)
            with pytest.raises(PermissionDenied, match="pc2 may announce only itself"):
                await pc2.ask("announce", host=mainpc.row.to_wire(), instances=[])
            assert registry.ends(signal.SIGTERM) == (0, "")
            await eventually(lambda: not pc2.up and not pc2.alive)

    run(work())


def test_ctrl_c_ends_it_cleanly_too(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()
    assert registry.ends(signal.SIGINT) == (0, "")


def test_the_death_of_a_host_is_known_everywhere_within_half_a_second(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()

    async def work() -> None:
        async with hosts(registry.config, "mainpc", "pc2") as (mainpc, pc2):
            await eventually(lambda: mainpc.lists("pc2_service") and pc2.alive)
            pc2.closes_port()
            with Slack() as slack:
                begun = time.monotonic()
                pc2.loses_links()
                await eventually(lambda: mainpc.state_of("pc2") == "dead")
                took = time.monotonic() - begun
            assert took < 0.5 + slack.lost
            dead = mainpc.directory.host("pc2")
            assert dead is not None and "refuses connections" in dead.reason and not mainpc.lists("pc2_service")

    run(work())


def test_a_host_whose_port_still_answers_is_suspect_first_and_dead_later(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()

    async def work() -> None:
        async with hosts(registry.config, "mainpc", "pc2") as (mainpc, pc2):
            await eventually(lambda: mainpc.directory.view.settled and pc2.alive, 8)
            begun = time.monotonic()
            pc2.loses_links()
            await eventually(lambda: mainpc.state_of("pc2") == "suspect")
            assert mainpc.lists("pc2_service")
            await eventually(lambda: mainpc.state_of("pc2") == "dead")
            assert 1.9 < time.monotonic() - begun < 15 and not mainpc.lists("pc2_service")

    run(work())


def test_a_host_that_hears_it_is_to_announce_itself_comes_back(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()

    async def work() -> None:
        async with hosts(registry.config, "mainpc") as (mainpc,):
            mainpc.hash = b"what was never announced"
            await eventually(lambda: mainpc.asked)
            assert await mainpc.syncs()
            await mainpc.announces("other_service")
            await eventually(lambda: mainpc.lists("other_service"))
            asked = mainpc.asked
            assert not await mainpc.syncs() and mainpc.asked == asked

    run(work())


def test_a_second_supervisor_with_one_name_is_refused(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()

    async def work() -> None:
        async with hosts(registry.config, "pc2") as (pc2,):
            second = FakeHost(registry.config, "pc2", incarnation=2)
            second.dials()
            await eventually(lambda: any("share a host name" in text for text in second.refusals))
            assert not second.up
            pc2.loses_links()
            await eventually(lambda: second.up)
            second.close()

    run(work())


def test_a_registry_that_is_killed_and_started_again_takes_no_service_away(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()

    async def work() -> None:
        async with hosts(registry.config, "mainpc", "pc2") as (mainpc, pc2):
            await mainpc.ask("set_desired", service="pc2_service", host="pc2", desired="stopped")
            await eventually(lambda: mainpc.lists("pc2_service") and mainpc.directory.view.desired and pc2.alive)
            epoch = mainpc.directory.position[0]
            registry.ends(signal.SIGKILL)
            await eventually(lambda: not mainpc.up)
            again = start(tmp_path)
            assert again.event()["event"] == "ready"
            with Slack() as slack:
                begun = time.monotonic()
                await eventually(lambda: mainpc.up and pc2.up)
                assert await mainpc.syncs()  # the new one knows nobody
                assert mainpc.directory.position[0] > epoch
                assert mainpc.lists("pc2_service") and mainpc.directory.view.desired
                assert await pc2.syncs()
                for one in (mainpc, pc2):
                    await one.announces(f"{one.name}_service")
                await eventually(lambda: not mainpc.directory.view.carried and mainpc.lists("pc2_service"))
                took = time.monotonic() - begun
            assert took < 2 + slack.lost

    run(work())


def test_a_host_that_withdraws_is_leaving_and_then_gone(tmp_path: Path, start: Start) -> None:
    registry = start(project(tmp_path))
    registry.event()

    async def work() -> None:
        async with hosts(registry.config, "mainpc", "pc2") as (mainpc, pc2):
            await eventually(lambda: mainpc.lists("pc2_service") and pc2.alive)
            await pc2.ask("withdraw", incarnation=1)
            await eventually(lambda: mainpc.state_of("pc2") == "leaving" and not mainpc.lists("pc2_service"))
            pc2.loses_links()
            await eventually(lambda: mainpc.state_of("pc2") is None)

    run(work())


def test_on_a_full_disk_only_what_must_be_stored_is_refused_with_the_reason(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path)
    state = folder / ".mesh" / "mainpc" / "state"
    state.mkdir(parents=True)

    async def work(disk: Disk, registry: Process) -> None:
        async with hosts(registry.config, "mainpc") as (mainpc,):
            with disk.full(registry.popen.pid):
                with pytest.raises(RemoteFailure, match=r"registry\.db: .*disk"):
                    for number in range(100):  # a page may still have room
                        await mainpc.ask("set_override", service="mainpc_service", key=f"a{number}", value="x" * 999)
                stored = len((await mainpc.ask("table"))["overrides"])
                status = await mainpc.ask("status")
                assert status["state"] == "degraded" and "disk" in status["reason"]
                await mainpc.announces("mainpc_service", "other_service")
                await eventually(lambda: mainpc.lists("other_service"))
            await mainpc.ask("set_desired", service="other_service", host="pc2", desired="stopped")
            assert (await mainpc.ask("status"))["state"] == "ok"
        registry.ends(signal.SIGKILL)
        again = start(folder)
        assert again.event()["event"] == "ready"
        async with hosts(again.config, "mainpc") as (mainpc,):
            table = await mainpc.ask("table")
            assert len(table["overrides"]) == stored
            assert [row["service"] for row in table["desired"]] == ["other_service"]
        again.ends(signal.SIGTERM)

    with small_disk(state) as disk:
        registry = start(folder)
        registry.event()
        run(work(disk, registry))


def test_a_registry_killed_on_a_full_disk_comes_back_or_says_what_is_wrong(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path)
    state = folder / ".mesh" / "mainpc" / "state"
    state.mkdir(parents=True)

    async def work(registry: Process) -> None:
        async with hosts(registry.config, "mainpc") as (mainpc,):
            assert mainpc.directory.view.desired == {("mainpc_service", "pc2"): "stopped"}
            status = await mainpc.ask("status")
            assert status["state"] == "degraded" and "disk" in status["reason"]

    async def before(registry: Process) -> None:
        async with hosts(registry.config, "mainpc") as (mainpc,):
            await mainpc.ask("set_desired", service="mainpc_service", host="pc2", desired="stopped")

    with small_disk(state) as disk:
        registry = start(folder)
        registry.event()
        run(before(registry))
        registry.ends(signal.SIGKILL)
        with disk.full():
            again = start(folder)
            event = again.event()
            if event["event"] == "failed":  # SQLite needs a few pages to open the file at all
                assert f"{state}/registry.db" in event["message"] and "disk" in event["message"]
                return
            run(work(again))
            again.ends(signal.SIGTERM)


# what keeps it from starting


def failure(process: Process) -> str:
    """Return why a registry did not start; says the same on both ways, with exit code 2."""
    event = process.event()
    code, printed = process.ends()
    assert event["event"] == "failed" and event["code"] == code == 2 and event["message"] in printed
    return str(event["message"])


def test_a_port_that_is_taken_is_named_with_its_holder_and_what_to_change(tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = failure(start(project(tmp_path, port=port)))
    assert f"tcp://127.0.0.1:{port}" in message and f"process {os.getpid()}" in message
    assert "registry: port:" in message and "config/hosts.yaml" in message


def test_a_second_registry_is_told_who_the_first_is(tmp_path: Path, start: Start) -> None:
    first = start(project(tmp_path))
    first.event()
    assert f"process {first.popen.pid} (" in failure(start(tmp_path))


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path)
    (folder / ".mesh" / "mainpc").mkdir(parents=True)
    (folder / ".mesh" / "mainpc" / "state").write_text("no folder")
    message = failure(start(folder))
    assert message.startswith("the registry cannot use its store: ") and "state/registry.db" in message


def test_a_config_that_cannot_be_used_is_said(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path)
    file = folder / "config" / "hosts.yaml"
    file.write_text(file.read_text().replace("registry:", "registri:"))
    assert "registri" in failure(start(folder))


def test_an_address_that_is_not_of_this_machine_is_said() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1:7400: the address is not of this machine"):
        ensure_free("192.0.2.1", 7400, "the registry", "`registry: port:`")


def test_who_holds_a_free_port_is_not_made_up() -> None:
    port = free_ports(1)[0]
    ensure_free("127.0.0.1", port, "the registry", "`registry: port:`")
    wait_until(lambda: holder("127.0.0.1", port) == "a program that this user may not see")
