"""`mesh agent scale`: a host that is too slow to say how far it is, is waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mesh.config import load
from mesh.transport.keys import ensure_key, key_folder
from tests.cli.runner import Result, run
from tests.cli.standin import stand_in
from tests.project import project

WELL = {"name": "mainpc", "state": "ok", "reason": ""}
SLOW = {"service": "lamp", "host": "mainpc", "how": "later", "state": None, "reason": "mainpc did not answer in time"}


def scaled(root: Path, states: list[dict[int, str]], *arguments: str) -> Result:
    """Scale `lamp` to 2 on a host that does not say in time how it went; each look at it finds the next of `states`."""
    left = list(states)

    def agents(_: Any) -> list[dict[str, Any]]:
        now = left.pop(0) if len(left) > 1 else left[0]
        return [{"service": "lamp", "instance": number, "state": state, "reason": "no licence" if state == "backoff"
                 else None} for number, state in now.items()]

    async def scenario() -> Result:
        config = load(root)
        ensure_key(key_folder(config), "operator")
        row = {"service": "lamp", "host": "mainpc", "number": 1, "incarnation": 1, "state": "ready"}
        async with stand_in(config, "mainpc", {
            "supervisor.directory": lambda _: {"hosts": [WELL], "instances": [row]},
            "supervisor.agent_scale": lambda _: {"ok": True, "rolled_back": False, "instances": {"mainpc": 2},
                                                 "hosts": [dict(SLOW)]},
            "supervisor.agents": agents,
        }):
            return await asyncio.to_thread(run, root, "agent", "scale", "lamp", "2", *arguments)

    with project(root):
        return asyncio.run(scenario())


def test_a_host_that_answers_too_late_is_waited_for_until_its_instances_are_up(tmp_path: Path) -> None:
    result = scaled(tmp_path, [{1: "ready"}, {1: "ready", 2: "starting"}, {1: "ready", 2: "degraded"}], "--json")
    told = result.json()
    assert (result.code, told["ok"], told["instances"]) == (0, True, {"mainpc": 2})
    assert [(row["how"], row["reason"]) for row in told["hosts"]] == [("live", "")]


def test_one_whose_instance_does_not_come_up_is_no_success(tmp_path: Path) -> None:
    result = scaled(tmp_path, [{1: "ready", 2: "starting"}, {1: "ready", 2: "backoff"}])
    assert result.code == 1 and "mainpc: instance 2 is backoff: no licence" in result.out


@pytest.mark.parametrize(("seen", "words"), [
    ({1: "ready", 2: "starting"}, "instance 2 is starting"), ({1: "ready"}, "it has 1 of 2"),
])
def test_when_the_time_of_the_command_is_over_it_says_what_is_not_up(tmp_path: Path, seen: dict[int, str],
                                                                     words: str) -> None:
    result = scaled(tmp_path, [seen], "--timeout", "3.5")
    assert result.code == 1 and words in result.out
