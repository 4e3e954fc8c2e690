"""`mesh stream` prints items as they come, and what ended them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.following import following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("service", ["lamp", "torch"])
def test_items_are_printed_one_per_line_wherever_they_come_from(mesh: Project, service: str) -> None:
    result = run(mesh.root, "stream", f"{service}.flicker", "times=3", "--json")
    *items, end = rows(result.out)
    assert (result.code, items) == (0, [{"item": {"flash": number}} for number in range(3)])
    assert (end["ok"], end["items"], end["host"]) == (True, 3, "mainpc" if service == "lamp" else "pc2")
    assert len(end["trace_id"]) == 32 and end["elapsed_ms"] > 0


def test_people_see_the_items_alone(mesh: Project) -> None:
    result = run(mesh.root, "stream", "lamp.flicker", "times=2")
    assert (result.code, result.err) == (0, "")
    assert result.out == '{\n  "flash": 0\n}\n{\n  "flash": 1\n}\n'


def test_many_items_come_whole_and_in_order_through_another_host(mesh: Project) -> None:
    result = run(mesh.root, "stream", "torch.flicker", "times=5000", "--json")
    assert [row["item"]["flash"] for row in rows(result.out)[:-1]] == list(range(5000))


def test_an_error_in_the_middle_is_the_last_line_and_the_exit_code(mesh: Project) -> None:
    result = run(mesh.root, "stream", "torch.flicker", "times=2", "fail=true", "--json")
    *items, end = rows(result.out)
    assert (result.code, len(items)) == (1, 2)
    assert (end["ok"], end["error"]["code"], end["error"]["host"]) == (False, "remote_failure", "pc2")
    assert end["error"]["error_id"].startswith("pc2-")
    plain = run(mesh.root, "stream", "torch.flicker", "times=1", "fail=true")
    assert plain.code == 1 and plain.out.count("flash") == 1
    assert "torch.flicker raised ValueError: burnt out" in plain.err and "mesh errors show" in plain.err


def test_an_operation_that_returns_is_a_stream_of_one(mesh: Project) -> None:
    result = run(mesh.root, "stream", "lamp.shine", "name=a", "--json")
    assert rows(result.out)[0]["item"]["name"] == "a" and rows(result.out)[1]["items"] == 1


def test_a_call_of_an_operation_that_yields_says_what_to_use(mesh: Project) -> None:
    result = run(mesh.root, "call", "torch.flicker", "times=2")
    assert result.code == 1 and "`mesh stream torch.flicker`" in result.err


def test_no_item_in_time_is_a_deadline_that_has_passed(mesh: Project) -> None:
    result = run(mesh.root, "stream", "torch.flicker", "times=3", "seconds=30", "--timeout", "0.5", "--json")
    assert result.code == 4 and rows(result.out)[-1]["error"]["code"] == "deadline_exceeded"
    slow = run(mesh.root, "stream", "torch.flicker", "times=6", "seconds=0.2", "--timeout", "1", "--json")
    assert slow.code == 0, "all together take longer, each is in time"


@pytest.mark.parametrize("words", [["lamp"], ["lamp.flicker", "many"], ["lamp.flicker", "--data", "[1]"]])
def test_a_wrong_call_is_told_so(mesh: Project, words: list[str]) -> None:
    assert run(mesh.root, "stream", *words).code == 2


def test_what_cannot_be_opened_is_a_failure(mesh: Project) -> None:
    result = run(mesh.root, "stream", "lmap.flicker", "times=1", "--json")
    assert result.code == 1 and rows(result.out)[0]["error"]["code"] == "unknown_service"
    assert "did you mean lamp?" in run(mesh.root, "stream", "lmap.flicker").err


@pytest.mark.parametrize("service", ["lamp", "torch"])
def test_ctrl_c_ends_what_makes_the_items(mesh: Project, service: str) -> None:
    with following(mesh, "events", "tail", "lamp.dark", "--json", until="listening") as dark, \
            following(mesh, "stream", f"{service}.flicker", "times=1234567", "seconds=0.01", "--json",
                      until="flash") as light:
        assert light.interrupt() == 130
        wait_until(lambda: [row for row in dark.rows() if row["data"] == {"after": 1234567}], 5)
        assert "Traceback" not in light.text
