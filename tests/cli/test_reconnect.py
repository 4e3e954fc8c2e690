"""A tail goes on through another host when the one it talks to dies, and shows nothing twice."""

from __future__ import annotations

from tests.cli.following import Following, following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project


def shown(tail: Following, text: str) -> bool:
    return any(text in row["message"] for row in tail.rows())


def test_an_error_tail_survives_the_death_of_its_host(rough: Project) -> None:
    run(rough.root, "call", "lamp.blow", "why=before")
    with following(rough, "errors", "tail", "--json", until="before") as tail:
        rough.kill("mainpc")
        wait_until(lambda: shown(tail, "host mainpc is dead"), 15)
        assert "the connection to mainpc is lost" in tail.text
        wait_until(lambda: "error_id" in run(rough.root, "call", "lamp.blow", "why=afterwards", "--json").out, 15)
        wait_until(lambda: shown(tail, "afterwards"), 15)
        ids = [row["id"] for row in tail.rows()]
        assert len(ids) == len(set(ids)) and tail.interrupt() in (0, 130)


def test_an_event_tail_survives_it_too(rough: Project) -> None:
    wait_until(lambda: all(row["state"] == "ok" for row in rough.json("status")["hosts"]), 15)
    with following(rough, "events", "tail", "lamp.*", "--json", until="listening to lamp.* through mainpc") as tail:
        rough.kill("mainpc")
        wait_until(lambda: tail.text.count("listening to") == 2, 15)
        wait_until(lambda: run(rough.root, "publish", "lamp.switch", "--data", '{"who": "x"}').code == 0, 15)
        wait_until(lambda: any(row["topic"] == "lamp.switch" for row in tail.rows()), 10)


def test_without_any_host_a_tail_waits_for_one(rough: Project) -> None:
    wait_until(lambda: all(row["state"] == "ok" for row in rough.json("status")["hosts"]), 15)
    with following(rough, "events", "tail", "lamp.*", until="listening to") as tail:
        rough.mesh("down")
        wait_until(lambda: "it is tried again until it works" in tail.text, 20)
        rough.up()
        wait_until(lambda: tail.text.count("listening to") >= 2, 20)
        run(rough.root, "publish", "lamp.switch", "--data", '{"who": "x"}')
        wait_until(lambda: "lamp.switch" in tail.text, 10)
        assert tail.text.count("it is tried again") == 1
