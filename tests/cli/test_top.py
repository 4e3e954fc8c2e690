"""`mesh top`: figures follow what is called, and the terminal is left as it was found, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.scope import Scope
from mesh.cli.top import Observer
from mesh.errors import Unavailable
from tests.cli.conftest import furnish
from tests.cli.following import following
from tests.cli.runner import run
from tests.cli.standin import stand_in
from tests.cli.test_rates import agent, answer, operation
from tests.eventually import wait_until
from tests.project import Project, project

LEFT = b"\x1b[?25h\x1b[?1049l"
"""The cursor is shown again and the screen that was there before comes back."""


def document(mesh: Project, *arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = run(mesh.root, "top", "--once", "--interval", "0.3", "--json", *arguments).json()
    return told


def test_one_document_tells_of_hosts_agents_operations_and_errors(mesh: Project) -> None:
    run(mesh.root, "call", "lamp.glow", "seconds=0.2")
    run(mesh.root, "call", "lamp.blow", "why=top")
    told = document(mesh)
    assert set(told) == {"time", "via", "registry", "hosts", "agents", "operations", "errors"}
    assert [(host["name"], host["state"]) for host in told["hosts"]] == [("mainpc", "ok"), ("pc2", "ok")]
    assert all(host["cpu_percent"] >= 0 and host["rss_mb"] > 10 for host in told["hosts"])
    assert {row["service"] for row in told["agents"]} == {"lamp", "torch", "request_coordinator"}
    glow = next(row for row in told["operations"] if row["operation"] == "glow" and row["service"] == "lamp")
    assert glow["p99_ms"] >= 190 and glow["calls"] >= 1 and glow["calls_per_s"] == 0.0
    assert any(row["service"] == "lamp" and row["message"] == "top" for row in told["errors"])


def test_one_host_can_be_asked_for(mesh: Project) -> None:
    assert [row["service"] for row in document(mesh, "--host", "pc2")["agents"]] == ["torch"]
    result = run(mesh.root, "top", "--once", "--host", "pc3")
    assert result.code == 2 and "there is no host 'pc3'" in result.err


def test_off_a_terminal_one_page_is_printed_without_control_codes(mesh: Project) -> None:
    result = run(mesh.root, "top", "--interval", "0.2")
    assert result.code == 0 and "\x1b" not in result.out
    lines = result.out.splitlines()
    assert lines[0].startswith("mesh test") and "registry ok" in lines[0]
    assert any(line.startswith("busiest agents") for line in lines)
    assert any(line.startswith("torch ") for line in lines)


def test_with_json_a_document_comes_each_interval_with_rates(mesh: Project) -> None:
    with following(mesh, "top", "--json", "--interval", "0.3", until="{") as it:
        run(mesh.root, "call", "torch.shine", "name=x")

        def shone(row: dict[str, Any]) -> bool:
            return any(each["service"] == "torch" and (each["calls_per_s"] or 0) > 0 for each in row["agents"])

        wait_until(lambda: any(shone(row) for row in it.rows()), 20)
        assert len(it.rows()) >= 2 and it.interrupt() in (0, 130)


def test_an_interval_of_nothing_is_a_wrong_call(mesh: Project) -> None:
    assert run(mesh.root, "top", "--interval", "0").code == 2


# -- in a terminal


class Terminal:
    """`mesh top` in a terminal of 24 by 80."""

    def __init__(self, mesh: Project) -> None:
        self.screen = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._slave = slave
        self.modes = termios.tcgetattr(slave)
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mesh.cli", "top", "--interval", "0.2"], cwd=mesh.root, stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True, env={**environment, "TERM": "xterm-256color"},
        )
        os.set_blocking(self._master, False)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            self.screen += os.read(self._master, 1 << 20)
        return self.screen

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def ended(self) -> int:
        wait_until(lambda: self.read() and self.process.poll() is not None, 20)
        self.read()
        return self.process.returncode

    @property
    def modes_now(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def terminal(mesh: Project) -> Iterator[Terminal]:
    it = Terminal(mesh)
    try:
        wait_until(lambda: b"q quits" in it.read(), 20)
        yield it
    finally:
        it.close()


@pytest.mark.parametrize(("leave", "codes"), [
    (lambda it: it.press(b"q"), (0,)),
    (lambda it: it.process.send_signal(signal.SIGINT), (0, 130)),
    (lambda it: it.process.send_signal(signal.SIGTERM), (0,)),
], ids=["q", "Ctrl-C", "SIGTERM"])
def test_the_terminal_is_left_clean(terminal: Terminal, leave: Callable[[Terminal], None], codes: tuple[int, ...]
                                    ) -> None:
    assert terminal.screen.startswith(b"\x1b[?1049h") and terminal.modes_now != terminal.modes
    assert b"torch" in terminal.screen and b"mainpc" in terminal.screen
    leave(terminal)
    assert terminal.ended() in codes
    assert terminal.screen.endswith(LEFT) and terminal.modes_now == terminal.modes


# -- when something is gone


@pytest.fixture
def unencrypted(tmp_path: Path) -> Iterator[Project]:
    """A project that never ran, so there are no keys."""
    with project(tmp_path, security="none") as made:
        furnish(made)
        yield made


def directory(registry: str = "ok") -> dict[str, Any]:
    return {"epoch": 1, "revision": 1, "registry": {"state": registry, "endpoint": "tcp://x", "store": "sqlite",
                                                    "reason": "lost"},
            "hosts": [{"name": "mainpc", "state": "ok", "reason": ""}, {"name": "pc2", "state": "dead", "reason": "x"}],
            "instances": []}


def test_a_host_that_was_never_started_is_shown_as_absent(furnished: Project) -> None:
    furnished.up("--host", "mainpc")
    told = document(furnished)
    assert [(host["name"], host["state"]) for host in told["hosts"]] == [("mainpc", "ok"), ("pc2", "absent")]
    assert "`mesh up --host pc2`" in told["hosts"][1]["reason"]
    assert {row["host"] for row in told["agents"]} == {"mainpc"}


def test_it_works_without_the_registry(unencrypted: Project) -> None:
    async def scenario() -> dict[str, Any]:
        observer = Observer(Scope(folder=unencrypted.root), "mainpc")
        answers = {"supervisor.directory": lambda _: directory("unreachable"),
                   "supervisor.top": lambda _: answer(1.0, agent("lamp", operation("shine", 1)))}
        async with stand_in(observer.config, "mainpc", answers):
            try:
                await observer.connect()
                assert await observer.look()
                return observer.told()
            finally:
                observer.close()

    told = asyncio.run(scenario())
    assert told["registry"]["state"] == "unreachable"
    assert [(host["name"], host["state"]) for host in told["hosts"]] == [("mainpc", "ok")]
    assert [row["service"] for row in told["agents"]] == ["lamp"]


def test_when_the_last_host_goes_what_was_seen_stays_and_it_is_said(unencrypted: Project) -> None:
    async def scenario() -> None:
        observer = Observer(Scope(folder=unencrypted.root), "mainpc")
        answers = {"supervisor.directory": lambda _: directory(),
                   "supervisor.top": lambda _: answer(1.0, agent("lamp"))}
        try:
            async with stand_in(observer.config, "mainpc", answers):
                await observer.connect()
                assert await observer.look() and observer.trouble is None
            assert not await observer.look()
            assert observer.trouble is not None and "what is shown is old" in observer.trouble
            assert [row["service"] for row in observer.told()["agents"]] == ["lamp"]
            async with stand_in(observer.config, "mainpc", answers):
                for _ in range(20):
                    if await observer.look():
                        break
                assert observer.trouble is None and len(observer.readings) == 2
        finally:
            observer.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_host_that_does_not_answer_in_time_is_named(unencrypted: Project) -> None:
    def refuses(_: Any) -> None:
        raise Unavailable("too busy")

    async def scenario() -> dict[str, Any]:
        observer = Observer(Scope(folder=unencrypted.root), "mainpc")
        answers = {"supervisor.directory": lambda _: directory(), "supervisor.top": refuses}
        async with stand_in(observer.config, "mainpc", answers):
            try:
                await observer.connect()
                await observer.look()
                return observer.told()
            finally:
                observer.close()

    (host,) = asyncio.run(scenario())["hosts"]
    assert (host["state"], host["reason"]) == ("unreachable", "too busy")
    assert json.dumps(host)
