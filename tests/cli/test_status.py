"""The document of `mesh status` says of each host what it says itself, and what the others say where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.status import CELL_STATES, closed_pages, summary, troubles
from mesh.config import MeshConfig, load
from mesh.errors import Unreachable
from tests.project import project

Row = dict[str, Any]
AGENT = "from mesh import Agent\nclass It(Agent): ...\n"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[MeshConfig]:
    with project(tmp_path) as made:
        made.agent("lamp", AGENT, required=True)
        made.agent("torch", AGENT, host="pc2", required=True)
        yield load(made.root)


def listed(name: str, **fields: Any) -> Row:
    return {"name": name, "state": "ok", "incarnation": 17, "pid": 4242, "version": "0.1.0", "reason": "", **fields}


def told(name: str, **fields: Any) -> Row:
    return {
        "name": name, "state": "ok", "incarnation": 17, "pid": 4242, "uptime_s": 61.2, "loop_lag_ms": 0.8,
        "rss_mb": 71.0, "contexts": 1, "sockets": 5, "helpers": 9, "security": "curve", "version": "0.1.0",
        "agents": dict.fromkeys(CELL_STATES, 0) | {"ready": 1}, "required_down": [], "errors_last_5m": 0,
        **fields,
    }


def instance(service: str, host: str, **fields: Any) -> Row:
    return {"service": service, "host": host, "state": "ready", "reason": "", **fields}


@pytest.fixture
def make(config: MeshConfig) -> Callable[..., Row]:
    """The document of a mesh that is well, but for what a test says."""

    def made(*, hosts: list[Row] | None = None, instances: list[Row] | None = None,
             answers: dict[str, Any] | None = None, leases: list[Row] | None = None, **registry: Any) -> Row:
        directory = {
            "hosts": [listed("mainpc"), listed("pc2")] if hosts is None else hosts,
            "instances": [instance("lamp", "mainpc"), instance("torch", "pc2")] if instances is None else instances,
        }
        about = {"endpoint": "tcp://127.0.0.1:7400", "state": "ok", "epoch": 1, "revision": 2, "store": "sqlite",
                 "reason": "", "hosts": leases or [], **registry}
        return summary(config, directory, {"mainpc": told("mainpc"), "pc2": told("pc2"), **(answers or {})}, about)

    return made


def host(document: Row, name: str) -> Row:
    row: Row = next(row for row in document["hosts"] if row["name"] == name)
    return row


def test_it_has_every_field_that_scripts_rely_on(make: Callable[..., Row]) -> None:
    document = make()
    assert {"registry", "hosts", "services", "errors_last_5m"} <= set(document)
    assert {"endpoint", "state", "epoch", "revision", "store"} <= set(document["registry"])
    assert {"name", "state", "incarnation", "pid", "uptime_s", "lease_age_s", "loop_lag_ms", "rss_mb", "contexts",
            "sockets", "helpers", "security", "version", "agents"} <= set(document["hosts"][0])
    assert tuple(document["hosts"][0]["agents"]) == CELL_STATES
    assert document["required_down"] == []


def test_a_host_that_does_not_answer_has_every_field_too(make: Callable[..., Row]) -> None:
    well, away = make(), make(answers={"pc2": Unreachable("pc2 is away")})
    assert set(host(well, "pc2")) <= set(host(away, "pc2"))
    assert host(away, "pc2")["uptime_s"] is None and host(away, "pc2")["pid"] == 4242
    assert set(host(away, "pc2")["agents"].values()) == {0}


def test_its_state_is_then_what_the_others_say_of_it(make: Callable[..., Row]) -> None:
    silent = {"pc2": Unreachable("pc2 is away")}
    dead = make(hosts=[listed("mainpc"), listed("pc2", state="dead", reason="its link is lost")], answers=silent)
    assert (host(dead, "pc2")["state"], host(dead, "pc2")["reason"]) == ("dead", "it is dead: its link is lost")
    assert host(make(answers=silent), "pc2")["state"] == "unreachable"
    absent = host(make(hosts=[listed("mainpc")], answers=silent), "pc2")
    assert absent["state"] == "absent" and "mesh up --host pc2" in absent["reason"] and absent["pid"] is None


@pytest.mark.parametrize(("seen", "own", "state"), [
    ("ok", "ok", "ok"), ("busy", "ok", "busy"), ("suspect", "ok", "suspect"), ("stuck", "ok", "stuck"),
    ("dead", "ok", "ok"), ("ok", "leaving", "leaving"), ("busy", "leaving", "leaving"),
])
def test_a_host_that_answers_is_not_dead_but_may_be_busy(
    make: Callable[..., Row], seen: str, own: str, state: str
) -> None:
    document = make(hosts=[listed("mainpc"), listed("pc2", state=seen)], answers={"pc2": told("pc2", state=own)})
    assert host(document, "pc2")["state"] == state


def test_the_age_of_a_lease_is_the_registrys_word(make: Callable[..., Row]) -> None:
    document = make(leases=[listed("pc2", lease_age_s=0.4)])
    assert host(document, "pc2")["lease_age_s"] == 0.4 and host(document, "mainpc")["lease_age_s"] is None


def test_services_are_those_configured_and_those_announced_each_once(make: Callable[..., Row]) -> None:
    assert make()["services"] == 2
    assert make(instances=[])["services"] == 2
    more = [instance("lamp", "mainpc"), instance("lamp", "pc2"), instance("fan", "pc2")]
    assert make(instances=more)["services"] == 3


def test_errors_are_summed_over_the_hosts_that_answer(make: Callable[..., Row]) -> None:
    answers = {"mainpc": told("mainpc", errors_last_5m=2), "pc2": told("pc2", errors_last_5m=3)}
    assert make(answers=answers)["errors_last_5m"] == 5
    assert make(answers={**answers, "pc2": Unreachable("away")})["errors_last_5m"] == 2


def test_a_required_agent_that_does_not_serve_is_named_with_state_and_reason(make: Callable[..., Row]) -> None:
    document = make(instances=[instance("lamp", "mainpc", state="failed", reason="no bulb")],
                    answers={"mainpc": told("mainpc", required_down=["lamp"])})
    assert document["required_down"] == [{"service": "lamp", "host": "mainpc", "state": "failed", "reason": "no bulb"}]


def test_required_agents_of_a_host_that_is_away_are_down(make: Callable[..., Row]) -> None:
    (row,) = make(answers={"pc2": Unreachable("pc2 is away")})["required_down"]
    assert (row["service"], row["host"], row["reason"]) == ("torch", "pc2", "pc2 is away")


def test_people_see_them_in_one_line(make: Callable[..., Row], config: MeshConfig) -> None:
    document = make(answers={"pc2": Unreachable("pc2 is away"), "mainpc": told("mainpc", required_down=["lamp"])},
                    instances=[instance("lamp", "mainpc", state="failed", reason="no bulb")])
    assert list(troubles(document)) == ["required agents of pc2 are down with it: torch",
                                        "required agent lamp@mainpc is failed: no bulb"]


def test_a_metrics_page_that_is_not_open_is_told_with_the_reason(make: Callable[..., Row]) -> None:
    closed = {"endpoint": None, "reason": "the metrics page of host pc2 cannot listen"}
    opened = {"endpoint": "http://127.0.0.1:7402/metrics", "reason": None}
    made = make(answers={"pc2": told("pc2", metrics=closed), "mainpc": Unreachable("away", began="no")}, metrics=opened)
    assert list(closed_pages(made)) == ["the metrics page of host pc2 cannot listen"]
