"""Contexts and sockets: one, and as many as there are hosts, however many agents there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.eventually import wait_until
from tests.project import Project
from tests.system.conftest import ECHO


def test_sockets_and_contexts_do_not_grow_with_agents(pair: Project) -> None:
    up = pair.up()
    few = {name: pair.host(name) for name in ("mainpc", "pc2")}
    up.terminate()
    up.wait(20)
    for number in range(10):
        pair.agent(f"more_{number}", ECHO, host="mainpc" if number % 2 else "pc2")
    pair.up()
    for name, before in few.items():
        after = wait_until(lambda name=name: _linked(pair, name), 10)  # type: ignore[misc]
        assert (after["contexts"], after["sockets"], after["helpers"]) == (1, before["sockets"], before["helpers"])
        assert before["sockets"] == 5 and sum(after["agents"].values()) > sum(before["agents"].values())
        assert _reapers(after["pid"]) == 1


def _linked(pair: Project, name: str) -> dict[str, Any] | None:
    row: dict[str, Any] = pair.host(name)
    return row if row["sockets"] >= 5 else None


def _reapers(pid: int) -> int:
    """Count the reaper threads of a process: libzmq has one for each Context."""
    names = [(task / "comm").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(name.startswith("ZMQbg/Reaper") for name in names)
