"""From what hosts say of a service follows one cause, the gravest, with what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.cause import Facts, conclude, sentences
from mesh.config import Finding, load
from mesh.errors import MeshError, Unreachable
from tests.project import project

Row = dict[str, Any]
Make = Callable[..., Facts]
NOW = 1_790_000_000.0
AGENT = "from mesh import Agent\nclass It(Agent): ...\n"


def cell(state: str = "ready", **fields: Any) -> Row:
    return {
        "state": state, "reason": None, "last_error": None, "restarts": 0, "failures": 0, "budget": 5,
        "restart": "permanent", "restart_group": None, "window_s": 60.0, "next_start_s": None, "inbox": 0,
        "concurrency": 64, "calls": 7, "errors": 0, "operations": ["shine"], "depends_on": [], "waits_for": [],
        "history": [{"time": NOW - 60, "state": state, "reason": ""}], **fields,
    }


def answer(host: str, **fields: Any) -> Row:
    return {
        "host": host, "time": NOW, "epoch": 1, "revision": 41, "known": True, "goes_to": "pc2", "refusal": None,
        "instances": [{"host": "pc2", "state": "ready", "reason": "", "incarnation": 1, "operations": []}],
        "links": {}, "desired": {}, "cell": None, "callers": [], "errors": [],
        "breakers": [], "budget": None, **fields,
    }


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Facts of `torch`, which runs on pc2 and is well, but for what a test says of pc2 and mainpc."""
    with project(tmp_path) as made:
        made.agent("torch", AGENT, host="pc2")
        made.agent("nowhere", AGENT)
        config = load(made.root)

    def facts(service: str = "torch", *, pc2: Any = None, mainpc: Row | None = None, **fields: Any) -> Facts:
        there = pc2 if isinstance(pc2, MeshError) else answer("pc2", **{"cell": cell(), **(pc2 or {})})
        here = answer("mainpc", **(mainpc or {}))
        return Facts(service, config, answers={"mainpc": here, "pc2": there},
                     **{"directory": listed(), "registry": {"state": "ok", "revision": 41, "hosts": []}, **fields})

    yield facts


def listed(state: str = "ok", reason: str = "") -> Row:
    return {"hosts": [{"name": "mainpc", "state": "ok", "reason": ""}, {"name": "pc2", "state": state,
                                                                     "reason": reason}], "instances": []}


def therefore(facts: Facts) -> str:
    sentences(facts)  # every fact can be said as well
    return conclude(facts).text


def in_cell(state: str, **fields: Any) -> Row:
    return {"cell": cell(state, **fields), "goes_to": None, "refusal": "no"}


AWAY: Row = {"goes_to": None, "refusal": "no"}


def test_what_is_well_is_said_to_be(make: Make) -> None:
    found = conclude(make())
    assert found.well and found.text == "torch is well: mainpc and pc2 can call it on pc2"
    assert not any(each.bad for each in sentences(make()))


def test_what_an_operator_stopped_is_told_with_the_command(make: Make) -> None:
    facts = make(pc2={**in_cell("stopped"), "desired": {"pc2": "stopped"}}, mainpc=AWAY)
    assert therefore(facts) == "an operator stopped torch on pc2; mesh agent start torch starts it"
    assert any(each.topic == "desired" for each in sentences(facts))


@pytest.mark.parametrize(("state", "fields", "words"), [
    ("quarantined", {"last_error": "ValueError: broken"}, "failed too often and stays down (ValueError: broken)"),
    ("backoff", {"last_error": "ValueError: broken"}, "crashes and is started again by itself"),
    ("starting", {"waits_for": ["lamp"]}, "waits for lamp to start; mesh why lamp"),
    ("starting", {}, "is just starting"),
    ("draining", {"reason": "the host stops"}, "is stopping (the host stops)"),
    ("stopped", {"reason": "not started yet"}, "is stopped (not started yet); mesh agent start torch"),
])
def test_each_state_has_its_cause(make: Make, state: str, fields: Row, words: str) -> None:
    assert words in therefore(make(pc2=in_cell(state, **fields), mainpc=AWAY))


def test_of_several_instances_on_a_host_the_one_that_is_away_is_named(make: Make) -> None:
    first, second = cell(instance=1), cell("quarantined", instance=2, last_error="ValueError: broken")
    facts = make(pc2={"cell": first, "cells": [first, second]})
    assert therefore(facts) == ("torch is served by pc2 alone: torch on pc2#2 failed too often and stays down "
                                "(ValueError: broken); mend that, then mesh agent start torch#2")
    assert [each.topic for each in sentences(facts) if each.topic.startswith("pc2")] == ["pc2", "pc2#2"]
    stopped = cell("stopped", instance=2)
    facts = make(pc2={"cell": first, "cells": [first, stopped], "desired": {"pc2#2": "stopped"}})
    assert "an operator stopped torch on pc2#2; mesh agent start torch#2 starts it" in therefore(facts)


def test_if_all_instances_of_a_host_are_well_each_is_said_to_be_called(make: Make) -> None:
    first, second = cell(instance=1), cell(instance=2)
    facts = make(pc2={"cell": first, "cells": [first, second]})
    assert therefore(facts) == "torch is well: mainpc and pc2 can call it on pc2 and pc2#2"
    crowded = cell(instance=2, inbox=60)
    facts = make(pc2={"cell": first, "cells": [first, crowded]})
    assert "torch on pc2#2 answers more slowly than it is asked: 60 calls wait" in therefore(facts)


@pytest.mark.parametrize(("state", "words"), [
    ("dead", "is dead (its link is lost); is the machine on"), ("suspect", "is suspect"),
    ("ok", "cannot be reached (gone); mesh doctor")])
def test_a_host_that_is_away_is_the_cause(make: Make, state: str, words: str) -> None:
    facts = make(pc2=Unreachable("gone", began="no"), mainpc=AWAY,
                 directory=listed(state, "" if state == "ok" else "its link is lost"))
    assert words in therefore(facts)
    assert any(each.topic == "pc2" and each.bad for each in sentences(facts))


def test_a_host_that_never_joined_is_started_there(make: Make) -> None:
    directory = {"hosts": listed()["hosts"][:1], "instances": []}
    assert "start it there: mesh up --host pc2" in therefore(make(pc2=Unreachable("x", began="no"), mainpc=AWAY,
                                                                  directory=directory))


def test_a_host_started_before_the_agent_was_configured_wants_a_restart(make: Make) -> None:
    assert "restart pc2" in therefore(make(pc2={"cell": None, **AWAY}, mainpc=AWAY))


def test_one_host_that_cannot_call_it_is_named_with_the_reason(make: Make) -> None:
    facts = make(mainpc={"goes_to": None, "refusal": "pc2 is out of reach",
                         "links": {"pc2": {"state": "lost", "reason": "no answer"}}})
    assert therefore(facts) == ("torch serves on pc2, but mainpc cannot call it (pc2 is out of reach); "
                                "mesh doctor tells the way")
    assert any("mainpc has no link to pc2: no answer" in each.text for each in sentences(facts))


def test_a_degraded_engine_is_told_with_its_command(make: Make) -> None:
    facts = make(pc2={"cell": cell("degraded", reason="needs httpx: pip install 'mesh[http]'")})
    assert therefore(facts).endswith("with less than it could: needs httpx: pip install 'mesh[http]'")


def test_a_dependency_that_is_away_is_the_next_question(make: Make) -> None:
    needs = [{"service": "lamp", "soft": True, "goes_to": None, "refusal": "lamp is away"}]
    facts = make(pc2={"cell": cell("degraded", reason="waiting for lamp@mainpc", depends_on=needs)})
    assert therefore(facts).endswith("waiting for lamp@mainpc; mesh why lamp tells more")


def test_a_crowded_inbox_is_told(make: Make) -> None:
    assert "900 calls wait" in therefore(make(pc2={"cell": cell(inbox=900)}))


def test_a_registry_that_is_away_is_told_last(make: Make) -> None:
    gone = {"state": "unreachable", "revision": 41, "reason": "nothing listens"}
    assert "the registry is away" in therefore(make(registry=gone))
    assert "an operator stopped" in therefore(make(pc2={**in_cell("stopped"), "desired": {"pc2": "stopped"}},
                                                   mainpc=AWAY, registry=gone))


def test_an_operation_there_is_not_is_told_with_the_nearest(make: Make) -> None:
    facts = make(operation="shime")
    assert therefore(facts) == "torch is well, but has no operation shime; did you mean shine?"


def test_a_name_nobody_knows_is_told_with_the_nearest(make: Make) -> None:
    unknown = {"known": False, "instances": [], "goes_to": None, "refusal": "no"}
    facts = make("torhc", mainpc=unknown, pc2=Unreachable("x", began="no"))
    assert not facts.known and "did you mean torch?" in therefore(facts)


def test_without_any_host_nobody_can_call(make: Make) -> None:
    facts = make()
    assert "start it: mesh up" in conclude(Facts("torch", facts.config)).text


def test_findings_of_config_are_among_the_facts(make: Make) -> None:
    facts = make(findings=[Finding("error", "x", "config/agents/torch.yaml", 3, "unknown key")])
    assert any(each.topic == "config" and "torch.yaml:3: unknown key" in each.text for each in sentences(facts))


def test_who_called_in_vain_comes_first(make: Make) -> None:
    calls = [
        {"caller": "a", "host": "mainpc", "operation": "shine", "calls": 900, "errors": 0, "last_error": None},
        {"caller": "b", "host": "mainpc", "operation": "shine", "calls": 2, "errors": 1, "last_error": "cancelled"},
    ]
    told = [each.text for each in sentences(make(mainpc={"callers": calls})) if each.topic == "called by"]
    assert told == ["b@mainpc: shine 2 times, 1 failed (last: cancelled)", "a@mainpc: shine 900 times"]


def test_a_breaker_that_is_open_is_the_cause_and_a_spent_budget_is_told(make: Make) -> None:
    breaker = {"host": "pc2", "number": 1, "operation": None, "state": "open", "failures": 5, "calls": 9, "failed": 5,
               "retry_after_s": 41.0, "reason": "5 failures in a row", "last_error": "torch.shine raised KeyError"}
    budget = {"calls": 900, "retries": 190, "refused": 700, "left": 0.2}
    facts = make(mainpc={"breakers": [breaker, {**breaker, "state": "closed"}], "budget": budget})
    assert [each.text for each in sentences(facts) if each.topic in ("breaker", "retries")] == [
        "from mainpc: breaker to pc2 is open (5 failures in a row; the last failure: torch.shine raised KeyError), a "
        "call may try in 41.0 s",
        "from mainpc: 190 in 900 calls; the budget refused 700 more"]
    found = conclude(facts)
    assert not found.well and "mainpc does not call it: breaker to pc2 is open" in found.text
