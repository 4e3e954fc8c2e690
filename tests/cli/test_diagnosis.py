"""Each check says from the facts what is wrong and what to do, and nothing where all is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.diagnosis import CHECKS, Case, Verdict, diagnose, worst
from mesh.config import Finding, load
from mesh.errors import UnknownOperation, Unreachable
from tests.project import project

Row = dict[str, Any]
AGENT = "from mesh import Agent\nclass It(Agent): ...\n"
NOW = 1_790_000_000.0


def facts(host: str, **fields: Any) -> Row:
    other = "pc2" if host == "mainpc" else "mainpc"
    return {
        "host": host, "version": "0.1.0", "protocol": 1, "revision": "aaaa", "python": "3.11.7",
        "packages": {"pyzmq": "27.0"}, "descriptors": 4096, "descriptors_used": 50, "disk_mb": 100_000,
        "disk_free_mb": 50_000, "memory_mb": 16_000, "memory_free_mb": 8_000, "folder": "/p/.mesh", "writable": True,
        "keys": {"own": f"key-{host}", "written": None, "known": {other: f"key-{other}"}, "trouble": []}, **fields,
    }


def keys(own: str | None = "key-mainpc", known: str | None = "key-pc2", **fields: Any) -> Row:
    return {"own": own, "written": None, "known": {"pc2": known}, "trouble": [], **fields}


def way(start: str, end: str, **fields: Any) -> Row:
    return {"host": end, "from": start, "endpoint": "tcp://10.0.0.9:7420", "port": 7420, "link": "up", "reason": "",
            "rtt_ms": 0.4, "ahead_s": None if end == "registry" else 0.01, "dialled": None, **fields}


def status(name: str, **fields: Any) -> Row:
    return {"name": name, "uptime_s": 61.0, "loop_lag_ms": 0.8, "security": "curve", "version": "0.1.0", "protocol": 1,
            "revision": "aaaa", "pid": 42, **fields}


def agent(service: str, **fields: Any) -> Row:
    return {"service": service, "state": "ready", "reason": None, "required": False, **fields}


@pytest.fixture
def well(tmp_path: Path) -> Iterator[Case]:
    """A mesh of which all is known and nothing is wrong."""
    with project(tmp_path) as made:
        made.agent("lamp", AGENT)
        listed = [{"name": name, "state": "ok", "reason": ""} for name in ("mainpc", "pc2")]
        yield Case(
            config=load(made.root), now=NOW, own=("mainpc",), machines={"mainpc": facts("mainpc")},
            directory={"hosts": listed, "instances": []},
            statuses={"mainpc": status("mainpc"), "pc2": status("pc2")},
            told={"mainpc": facts("mainpc"), "pc2": facts("pc2")},
            reach={"mainpc": [way("mainpc", "pc2"), way("mainpc", "registry")],
                   "pc2": [way("pc2", "mainpc"), way("pc2", "registry")]},
            agents={"mainpc": [agent("lamp")], "pc2": []}, errors={"mainpc": [], "pc2": []},
            ports=[{"host": "mainpc", "port": 7410, "role": "calls", "state": "ours", "trouble": ""}],
        )


def wrong(case: Case) -> list[Verdict]:
    return [each for each in diagnose(case) if each.grade != "ok"]


def only(case: Case, check: str) -> Verdict:
    """Return the one thing that is wrong with a case, which `check` found."""
    found = wrong(case)
    assert [each.check for each in found] == [check]
    return found[0]


def with_facts(well: Case, host: str, **fields: Any) -> Case:
    return replace(well, told={**well.told, host: facts(host, **fields)})


def with_way(well: Case, start: str, end: str, **fields: Any) -> Case:
    rows = [way(start, end, **fields) if row["host"] == end else row for row in well.reach[start]]
    return replace(well, reach={**well.reach, start: rows})


def test_every_check_finds_a_well_mesh_well(well: Case) -> None:
    verdicts = diagnose(well)
    assert worst(verdicts) == "ok"
    assert {each.check for each in verdicts} == {"python", "config", "keys", "limits", "ports", "hosts", "links",
                                                 "clocks", "registry", "versions", "agents"}


def test_every_check_runs_on_no_facts_at_all() -> None:
    for check in CHECKS:
        assert all(each.grade == "ok" for each in check(Case()))


def test_a_missing_package_is_named_with_the_command(well: Case) -> None:
    found = only(with_facts(well, "pc2", packages={"pyzmq": "27.0", "msgpack": None}), "python")
    assert found.grade == "failed" and "msgpack" in found.message and "pip install msgpack" in found.hint


def test_config_errors_come_with_their_place(well: Case) -> None:
    found = only(replace(well, findings=[Finding("error", "x", "config/hosts.yaml", 5, "port is twice")]), "config")
    assert found.grade == "failed" and found.message == "config/hosts.yaml:5: port is twice"


@pytest.mark.parametrize(("fields", "grade", "words"), [
    ({"descriptors": 256}, "warning", "only 256 open files"),
    ({"descriptors_used": 4000}, "failed", "4000 of 4096"),
    ({"disk_free_mb": 500}, "warning", "only 500 MB are free on the disk"),
    ({"disk_free_mb": 50}, "failed", "only 50 MB"),
    ({"memory_free_mb": 100}, "warning", "100 MB of memory"),
    ({"writable": False}, "failed", "/p/.mesh cannot be written"),
])
def test_limits_have_their_bounds(well: Case, fields: Row, grade: str, words: str) -> None:
    found = only(with_facts(well, "pc2", **fields), "limits")
    assert found.grade == grade and words in found.message and found.hint and found.hosts == ("pc2",)


def test_a_taken_port_is_told_in_the_words_of_who_looked(well: Case) -> None:
    row = {"host": "mainpc", "port": 7410, "role": "calls", "state": "taken", "trouble": "taken by process 7 (x)"}
    assert only(replace(well, ports=[row]), "ports").message == "taken by process 7 (x)"


def test_a_key_nobody_pasted_is_named_with_the_command(well: Case) -> None:
    case = replace(with_facts(well, "mainpc", keys=keys(known=None)),
                   machines={"mainpc": facts("mainpc", keys=keys(known=None))})
    found = only(case, "keys")
    assert found.grade == "failed" and "does not know the key of pc2" in found.message
    assert "mesh keys show --host pc2" in found.hint and found.hosts == ("mainpc", "pc2")


def test_a_key_pasted_after_the_start_wants_a_restart(well: Case) -> None:
    found = only(with_facts(well, "mainpc", keys=keys(known=None)), "keys")
    assert "runs without the key of pc2" in found.message and "restart mainpc" in found.hint


def test_a_pasted_key_that_is_not_the_shown_one_is_found(well: Case) -> None:
    case = replace(with_facts(well, "mainpc", keys=keys(known="key-old")),
                   machines={"mainpc": facts("mainpc", keys=keys(known="key-old"))})
    assert "expects the key key-old of pc2, which shows key-pc2" in only(case, "keys").message


def test_an_own_key_other_than_the_written_one_is_found(well: Case) -> None:
    assert only(with_facts(well, "mainpc", keys=keys(written="key-old")), "keys").grade == "failed"


def test_a_lost_key_that_others_know_fails_and_one_never_made_warns(well: Case) -> None:
    lost = only(with_facts(well, "mainpc", keys=keys(own=None, written="key-mainpc")), "keys")
    assert lost.grade == "failed" and "mesh restore" in lost.hint
    assert only(with_facts(well, "mainpc", keys=keys(own=None)), "keys").grade == "warning"


def test_loose_key_files_come_with_chmod(well: Case) -> None:
    trouble = "/k/mainpc.key holds secret keys and is open to other users (0644); run: chmod 600 /k/mainpc.key"
    found = only(with_facts(well, "mainpc", keys=keys(trouble=[trouble])), "keys")
    assert found.hint == "chmod 600 /k/mainpc.key" and "(0644)" in found.message


def test_strangers_of_the_last_minutes_are_told(well: Case) -> None:
    group = {"message": "a connection from 10.0.0.2 with key ab-cd was refused: unknown", "count": 3,
             "last_seen": NOW - 20}
    found = only(replace(well, errors={"mainpc": [group]}), "strangers")
    assert "10.0.0.2" in found.message and "mesh keys show" in found.hint
    assert wrong(replace(well, errors={"mainpc": [{**group, "last_seen": NOW - 4000}]})) == []


def test_a_silent_port_is_named_for_the_firewall(well: Case) -> None:
    found = only(with_way(well, "pc2", "mainpc", link="connecting", rtt_ms=None, ahead_s=None, dialled="silent",
                          reason="no answer within 2 s"), "links")
    assert found.message.startswith("pc2 cannot reach mainpc at tcp://10.0.0.9:7420") and "no answer" in found.message
    assert "TCP port 7420" in found.hint and found.hosts == ("pc2", "mainpc")


@pytest.mark.parametrize(("dialled", "link", "words"), [
    ("closed", "lost", "nothing listens on port 7420"),
    ("open", "lost", "no firewall is in the way"),
    ("open", "none", "does it reach the registry"),
    ("no route to host", "lost", "no route to host"),
])
def test_each_way_of_not_getting_there_has_its_remedy(well: Case, dialled: str, link: str, words: str) -> None:
    assert words in only(with_way(well, "mainpc", "pc2", link=link, rtt_ms=None, ahead_s=None, dialled=dialled),
                         "links").hint


def test_the_registry_out_of_reach_of_one_host_is_found(well: Case) -> None:
    found = only(with_way(well, "pc2", "registry", link="lost", rtt_ms=None, dialled="closed", port=7400), "registry")
    assert found.grade == "failed" and "known services stay callable" in found.message
    assert "mesh up --host mainpc" in found.hint


@pytest.mark.parametrize(("ahead", "grade"), [(0.9, "ok"), (-0.9, "ok"), (1.1, "warning"), (-1.1, "warning")])
def test_clocks_may_be_a_second_apart(well: Case, ahead: float, grade: str) -> None:
    case = with_way(well, "mainpc", "pc2", ahead_s=ahead)
    found = [each for each in diagnose(case) if each.check == "clocks"]
    assert [each.grade for each in found] == [grade] and ("ahead of" if ahead > 0 else "behind") in found[0].message


@pytest.mark.parametrize(("field", "value", "grade"), [
    ("version", "0.2.0", "warning"), ("revision", "bbbb", "warning"), ("protocol", 2, "failed")])
def test_hosts_of_two_states_are_told_apart(well: Case, field: str, value: Any, grade: str) -> None:
    case = replace(well, statuses={**well.statuses, "pc2": status("pc2", **{field: value})},
                   told={**well.told, "pc2": facts("pc2", **{field: value})})
    found = only(case, "versions")
    assert found.grade == grade and str(value) in found.message and set(found.hosts) == {"mainpc", "pc2"}


def test_files_changed_since_the_start_are_told(well: Case) -> None:
    assert "not those it was started with" in only(with_facts(well, "pc2", revision="cccc"), "versions").message


def test_a_host_that_does_not_answer_fails_with_the_reason(well: Case) -> None:
    away = Unreachable("gone", began="no")
    listed = [{"name": "mainpc", "state": "ok", "reason": ""}, {"name": "pc2", "state": "dead", "reason": "link lost"}]
    case = replace(well, directory={"hosts": listed, "instances": []}, statuses={**well.statuses, "pc2": away},
                   told={**well.told, "pc2": away}, reach={"mainpc": well.reach["mainpc"], "pc2": away},
                   agents={"mainpc": [], "pc2": away}, errors={"mainpc": [], "pc2": away})
    found = only(case, "hosts")
    assert found.grade == "failed" and found.message == "pc2 does not answer: it is dead: link lost"


def test_without_a_mesh_plain_connects_are_judged(well: Case) -> None:
    def dialled(outcome: str) -> Case:
        row = {"host": "pc2", "endpoint": "tcp://10.0.0.9:7420", "port": 7420, "role": "host", "dialled": outcome}
        return Case(config=well.config, own=("mainpc",), machines=well.machines, silence="nobody answers",
                    dialled=[row])

    assert [(each.check, each.grade) for each in wrong(dialled("open"))] == [("hosts", "warning")]
    assert [(each.check, each.grade) for each in wrong(dialled("closed"))] == [("hosts", "warning"),
                                                                            ("links", "warning")]
    silent = wrong(dialled("silent"))[-1]
    assert silent.grade == "failed" and "port 7420" in silent.hint


def test_a_host_that_does_not_know_the_question_is_told(well: Case) -> None:
    older = UnknownOperation("supervisor has no operation reach")
    case = replace(well, reach={"mainpc": well.reach["mainpc"], "pc2": older})
    assert "pc2 does not tell how it reaches the others" in only(case, "hosts").message


def test_agents_that_do_less_are_warned_of_and_required_ones_fail(well: Case) -> None:
    degraded = agent("lamp", state="degraded", reason="needs httpx: pip install 'mesh[http]'")
    found = only(replace(well, agents={"mainpc": [degraded]}), "agents")
    assert found.grade == "warning" and "pip install 'mesh[http]'" in found.message
    down = agent("lamp", state="quarantined", required=True, reason="failed")
    assert only(replace(well, agents={"mainpc": [down]}), "agents").grade == "failed"
    assert "stopped" not in str(wrong(replace(well, agents={"mainpc": [agent("lamp", state="stopped")]})))


def test_an_engine_that_lacks_something_is_told_once(well: Case) -> None:
    case = replace(well, engines=[("lamp", "needs httpx: pip install 'mesh[http]'")])
    assert only(case, "agents").grade == "warning"
    degraded = agent("lamp", state="degraded", reason="needs httpx")
    only(replace(case, agents={"mainpc": [degraded]}), "agents")


def test_a_server_outside_the_mesh_that_is_away_is_told_with_who_needs_it(well: Case) -> None:
    redis = {"name": "redis", "address": "10.0.0.5:6379/0", "state": "ok", "reason": "", "users": ["keeper"]}
    down = {**redis, "state": "down", "reason": "Redis at 10.0.0.5:6379/0 cannot be reached"}
    case = replace(well, statuses={"mainpc": status("mainpc", connections=[redis]),
                                   "pc2": status("pc2", connections=[down])})
    found = [each for each in diagnose(case) if each.check == "connections"]
    assert {(each.grade, each.message, each.hosts) for each in found} == {
        ("ok", "mainpc: redis at 10.0.0.5:6379/0 is well", ("mainpc",)),
        ("warning", "pc2: Redis at 10.0.0.5:6379/0 cannot be reached; keeper serve with less", ("pc2",)),
    }
