"""Which services a host waits for before it says that it is up: those that may still come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mesh.directory import Directory
from mesh.policy.rules import RuleBook
from mesh.supervisor.bell import Bell
from mesh.supervisor.cell.lifecycle import State
from mesh.supervisor.cells import Cells
from tests.test_config_graph import mesh
from tests.test_directory import cell, host, snapshot


def awaited(*, reader: State = State.READY, rows: tuple[Any, ...] = (), desired: str | None = None) -> list[str]:
    """Return what the cells of `pc` wait for, where `reader` there softly needs `store` on `tv`."""
    config = mesh({"reader": "?store", "store": ""}, {"store": "tv"})
    directory = Directory()
    directory.replace(1, 1, snapshot([host("tv"), *rows]))
    if desired is not None:
        row = {"kind": "desired", "gone": False, "service": "store", "host": "tv", "desired": desired}
        directory.apply(1, 2, [row])
    cells = Cells(config, "pc", directory, RuleBook(config.policies, lambda _: None), Bell(),
                  lambda work: None, lambda _: None)
    running: Any = SimpleNamespace(state=reader, spec=config.agents["reader"], service="reader", number=1,
                                   name="reader")
    cells.roster.add(running)
    return cells.awaited()


def test_a_service_of_a_host_that_is_not_there_yet_may_come() -> None:
    assert awaited() == ["store@tv"]


@pytest.mark.parametrize("state", ["stopped", "starting", "failed", "backoff", "draining"])
def test_one_that_is_on_its_way_may_come(state: str) -> None:
    assert awaited(rows=(cell("store", "tv", state),)) == ["store@tv"]


def test_one_that_serves_is_not_waited_for() -> None:
    assert awaited(rows=(cell("store", "tv"),)) == []
    assert awaited(rows=(cell("store", "tv", "degraded"),)) == []


def test_one_that_was_given_up_or_stopped_by_an_operator_is_not_waited_for() -> None:
    assert awaited(rows=(cell("store", "tv", "quarantined"),)) == []
    assert awaited(rows=(cell("store", "tv", "stopped"),), desired="stopped") == []


def test_an_agent_that_does_not_serve_itself_waits_for_nobody() -> None:
    assert awaited(reader=State.QUARANTINED) == []
