"""`mesh ask`: the answer, and the path its request really took."""

from __future__ import annotations

import getpass
import re

from tests.cli.runner import run
from tests.project import Project

FIELDS = {"answer", "intent", "engine", "path", "elapsed_ms", "trace_id"}
FAILS = '''
    from typing import Any

    from mesh import Agent, operation


    class It(Agent):
        """Never has an answer."""

        @operation
        async def submit_text(self, data: str, user_id: str, session_id: str) -> Any:
            raise ValueError("no words")
'''


def test_the_answer_comes_with_the_path_in_order_of_first_execution(mesh: Project) -> None:
    told = run(mesh.root, "ask", "light please", "--json").json()
    assert set(told) >= FIELDS and told["ok"] is True
    assert told["answer"] == f"light please from mainpc and pc2 for {getpass.getuser()}"
    assert (told["intent"], told["engine"]) == ("light", "builtin")
    assert told["path"] == ["request_coordinator@mainpc", "lamp@mainpc", "torch@pc2"]
    assert told["elapsed_ms"] > 0 and len(told["trace_id"]) == 32


def test_people_see_the_answer_and_below_it_the_way(mesh: Project) -> None:
    lines = run(mesh.root, "ask", "light", "please").out.splitlines()
    assert lines[0].startswith("light please from mainpc and pc2")
    assert lines[1].startswith("light, builtin, ")
    assert lines[1].endswith(": request_coordinator@mainpc → lamp@mainpc → torch@pc2")


def test_user_and_session_can_be_chosen_and_are_otherwise_the_login_and_the_terminal(mesh: Project) -> None:
    told = run(mesh.root, "ask", "hello", "--user", "ada", "--session", "s1", "--json").json()
    assert told["answer"].endswith("for ada") and told["session_id"] == "s1"
    first, second = (run(mesh.root, "ask", "hello", "--json").json()["session_id"] for _ in range(2))
    assert first == second and first


def test_an_assistant_that_is_stopped_is_named(mesh: Project) -> None:
    run(mesh.root, "agent", "stop", "request_coordinator")
    try:
        result = run(mesh.root, "ask", "hello")
        assert result.code == 1 and "request_coordinator" in result.err and "stopped" in result.err
        told = run(mesh.root, "ask", "hello", "--json")
        assert told.code == 1 and told.err == "" and told.json()["ok"] is False
        assert told.json()["error"]["code"] == "unavailable" and "stopped" in told.json()["error"]["message"]
    finally:
        assert run(mesh.root, "agent", "start", "request_coordinator").code == 0


def test_an_assistant_that_fails_is_told_with_host_trace_and_the_error_it_keeps(furnished: Project) -> None:
    furnished.agent("request_coordinator", FAILS)
    furnished.up("--host", "mainpc")
    told = run(furnished.root, "ask", "hello", "--json").json()
    error = told["error"]
    assert (error["code"], error["host"], error["type"]) == ("remote_failure", "mainpc", "ValueError")
    assert (error["service"], error["operation"]) == ("request_coordinator", "submit_text")
    assert told["elapsed_ms"] > 0 and len(told["trace_id"]) == 32
    said = run(furnished.root, "ask", "hello")
    assert said.code == 1 and "no words" in said.err
    assert re.search(r"\n`mesh errors show mainpc-\d+` tells more\n$", said.err)


def test_an_answer_that_is_none_is_a_failure(furnished: Project) -> None:
    furnished.agent("request_coordinator", FAILS.replace('raise ValueError("no words")', "return 5"))
    furnished.up("--host", "mainpc")
    result = run(furnished.root, "ask", "hello", "--json")
    assert result.code == 1 and result.json()["error"]["code"] == "invalid_result"
    assert result.json()["error"]["host"] == "mainpc" and "returned 5 instead of an answer" in result.out
