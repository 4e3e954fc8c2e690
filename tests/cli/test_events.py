"""`mesh publish` and `mesh events tail`: what is said on one host is heard everywhere."""

from __future__ import annotations

from tests.cli.following import following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project


def test_what_is_published_reaches_the_agents_of_every_host(mesh: Project) -> None:
    result = run(mesh.root, "publish", "lamp.switch", "--data", '{"who": "everybody"}', "--json")
    assert result.code == 0 and result.json() == {"ok": True, "topic": "lamp.switch", "host": "mainpc"}
    for service in ("lamp", "torch"):
        wait_until(lambda service=service: "everybody" in mesh.call(f"{service}.seen")["result"], 10)  # type: ignore[misc]


def test_a_tail_shows_the_events_of_all_hosts_that_match_and_ctrl_c_ends_it_silently(mesh: Project) -> None:
    with following(mesh, "events", "tail", "lamp.*", "--json", until="listening to lamp.*") as tail:
        run(mesh.root, "publish", "other.topic")
        run(mesh.root, "publish", "lamp.switch", "--data", '{"who": "me"}')
        wait_until(lambda: len(tail.rows()) >= 3, 10)
        rows = {(row["topic"], row["origin"]): row for row in tail.rows()}
        assert set(rows) == {("lamp.switch", "operator@mainpc"), ("lamp.lit", "lamp@mainpc"), ("lamp.lit", "torch@pc2")}
        assert all(row["data"] == {"who": "me"} and row["time"] > 1e9 and "trace_id" in row for row in rows.values())
        before = tail.text
        assert tail.interrupt() in (0, 130)
        assert tail.text == before


def test_people_see_a_line_per_event(mesh: Project) -> None:
    with following(mesh, "events", "tail", "lamp.switch", until="listening to") as tail:
        run(mesh.root, "publish", "lamp.switch", "--data", '{"who": "you"}')
        wait_until(lambda: '  lamp.switch  operator@mainpc  { "who": "you" }\n' in tail.text, 10)


def test_an_event_without_data_has_none(mesh: Project) -> None:
    with following(mesh, "events", "tail", "some.thing", "--json", until="listening to") as tail:
        assert run(mesh.root, "publish", "some.thing").out == "published on some.thing by mainpc\n"
        wait_until(tail.rows, 10)
        assert tail.rows()[0]["data"] is None


def test_a_tail_may_be_given_an_end(mesh: Project) -> None:
    result = run(mesh.root, "events", "tail", "no.such.topic", "--timeout", "0.5")
    assert result.code == 0 and result.out == "" and "listening to no.such.topic through mainpc" in result.err
