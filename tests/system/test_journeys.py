"""What a person does with the shipped agents, from outside, across two real hosts."""

from __future__ import annotations

import signal
from typing import Any

import yaml

from tests.eventually import wait_until
from tests.project import Project


def ask(mesh: Project, text: str, user: str = "ana") -> dict[str, Any]:
    """Ask as one user, in one session."""
    answer: dict[str, Any] = mesh.json("ask", text, "--user", user, "--session", "s1")
    return answer


def test_what_was_told_is_recalled_in_other_words_also_after_a_restart(clone: Project) -> None:
    up = clone.up()
    pids = {row["name"]: row["pid"] for row in clone.json("status")["hosts"]}
    assert len(set(pids.values())) == 2
    told = ask(clone, "Remember that my niece Quilla was born on October 19")
    assert told["intent"] == "remember"
    asked = ask(clone, "When is the birthday of my niece?")
    assert "October 19" in asked["answer"] and asked["engine"] == "builtin"
    assert "memory_orchestrator@pc2" in asked["path"] and "request_coordinator@mainpc" in asked["path"]
    assert clone.mesh("down").returncode == 0
    assert up.wait(20) == 0
    clone.up()
    again = ask(clone, "Which day is Quilla's birthday?")
    assert "October 19" in again["answer"]
    assert "October" not in ask(clone, "When is the birthday of my niece?", user="ben")["answer"]
    assert "October" not in ask(clone, "When is the birthday of my uncle?")["answer"]


def test_an_answer_that_needs_a_lost_host_fails_and_names_it(clone: Project) -> None:
    clone.up()
    ask(clone, "Remember that my locker code is 4471")
    pid = clone.pid("pc2")
    clone.kill("pc2", signal.SIGSTOP)
    codes: list[str] = []

    def code_after_death() -> bool:
        answer = clone.call("request_coordinator.submit_text", data="What is my locker code?", user_id="ana")
        assert not answer["ok"] and "pc2" in answer["error"]["message"]
        codes.append(answer["error"]["code"])
        return codes[-1] == "unavailable"

    wait_until(code_after_death, 30)
    assert set(codes) <= {"unreachable", "unavailable"}, codes  # as a retry finds it: pc2 is listed still, or dead
    clone.kill_pid(pid, signal.SIGCONT)
    wait_until(lambda: "4471" in clone.mesh("ask", "What is my locker code?", "--user", "ana").stdout, 30)


def test_moving_a_service_in_config_moves_it_in_the_path(clone: Project) -> None:
    path = clone.root / "config" / "agents" / "nlu.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "hosts": ["pc2"]}))
    clone.up()
    assert "nlu@pc2" in ask(clone, "Hello there")["path"]


def test_the_facts_of_the_guide_are_found(clone: Project) -> None:
    clone.up()
    added = clone.call("knowledge_base.add_fact", topic="tea", content="Green tea wants water of 80 degrees")
    assert added["ok"] and added["result"]["memory_id"]
    found = clone.call("knowledge_base.search_facts", query="How hot should the water for green tea be?")
    assert "80 degrees" in str(found["result"])
