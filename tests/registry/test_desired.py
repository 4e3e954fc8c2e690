"""Desired states: what may be wanted, and what changes."""

from __future__ import annotations

import pytest

from mesh.errors import InvalidArgument
from registry.changes import DesiredChange
from registry.desired import Desired

STOPPED = DesiredChange("nlu", "pc2", "stopped")


def test_wanting_something_is_a_change_once() -> None:
    desired = Desired()
    assert desired.change("nlu", "pc2", "stopped") == STOPPED
    assert desired.of("pc2") == {}  # it counts only when it is taken
    desired.take(STOPPED)
    assert desired.change("nlu", "pc2", "stopped") is None
    assert desired.change("nlu", "pc2", "running") == DesiredChange("nlu", "pc2", "running")


def test_what_was_stored_is_wanted_from_the_start_on_its_host_only() -> None:
    desired = Desired([STOPPED, DesiredChange("nlu", "mainpc", "running")])
    assert desired.of("pc2") == {"nlu": "stopped"} and desired.of("mainpc") == {"nlu": "running"}
    assert desired.of("pc3") == {} and STOPPED in desired.rows()


@pytest.mark.parametrize(
    ("arguments", "path"), [(("NLU", "pc2", "stopped"), "service"), (("nlu", "", "stopped"), "host"),
                            (("nlu", "pc2", "paused"), "desired")]
)
def test_what_cannot_be_wanted_is_refused_by_name(arguments: tuple[str, str, str], path: str) -> None:
    with pytest.raises(InvalidArgument, match=path) as caught:
        Desired().change(*arguments)
    assert caught.value.details["path"] == path
