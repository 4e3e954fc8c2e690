"""The directory: whom it picks, what it says when there is nobody, and how it follows the registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.directory import Difference, Directory, HostRecord, InstanceRecord
from mesh.errors import ProtocolError, Unavailable, UnknownService


class Standing(Clock):
    """A clock that stands at one moment."""

    def time(self) -> float:
        return 1000.0


def host(name: str, state: Any = "ok", *, incarnation: int = 1, reason: str = "", since: float = 0.0) -> HostRecord:
    return HostRecord(name, incarnation, "127.0.0.1", 7410, 7411, "", "0.1.0", state, 1, reason, since)


def cell(service: str, where: str, state: Any = "ready", *, reason: str = "", number: int = 1) -> InstanceRecord:
    return InstanceRecord(service, where, 1, state, reason, ("run",), number)


def change(row: HostRecord | InstanceRecord, *, gone: bool = False) -> dict[str, Any]:
    return {"kind": "host" if isinstance(row, HostRecord) else "instance", "gone": gone, **row.to_wire()}


def snapshot(rows: Iterable[HostRecord | InstanceRecord], *, settled: bool = True) -> dict[str, Any]:
    rows = list(rows)
    return {
        "settled": settled,
        "hosts": [row.to_wire() for row in rows if isinstance(row, HostRecord)],
        "instances": [row.to_wire() for row in rows if isinstance(row, InstanceRecord)],
        "desired": [],
        "overrides": [],
    }


def filled(*rows: HostRecord | InstanceRecord, known: Any = ()) -> Directory:
    directory = Directory(known_names=known, clock=Standing())
    directory.replace(1, 10, snapshot(rows))
    return directory


def classes(directory: Directory, service: str = "nlu", place: str | None = None) -> list[list[str]]:
    return [[row.place for row in rows] for rows in directory.candidates(service, place)]


def refusal(directory: Directory, service: str = "nlu", place: str | None = None) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        directory.candidates(service, place)
    return caught.value


# choosing


def test_instances_on_hosts_that_are_well_are_equals() -> None:
    hosts = ("mainpc", "pc2", "pc3")
    directory = filled(*map(host, hosts), *(cell("nlu", where) for where in hosts))
    assert classes(directory) == [["mainpc", "pc2", "pc3"]]


def test_several_instances_of_a_host_are_candidates_each() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2"), cell("nlu", "pc2", number=2),
                       cell("nlu", "pc2", "failed", number=3))
    assert classes(directory) == [["pc2", "pc2#2"]]


def test_a_degraded_instance_comes_after_ready_ones_on_hosts_as_well_and_before_doubtful_hosts() -> None:
    directory = filled(host("pc2"), host("pc3"), host("pc4", "busy"), cell("nlu", "pc2", "degraded"),
                       cell("nlu", "pc3"), cell("nlu", "pc4"))
    assert classes(directory) == [["pc3"], ["pc2"], ["pc4"]]


@pytest.mark.parametrize("state", ["busy", "suspect"])
def test_a_doubtful_host_comes_last_but_not_never(state: str) -> None:
    directory = filled(host("mainpc", state), host("pc2"), cell("nlu", "mainpc"), cell("nlu", "pc2"))
    assert classes(directory) == [["pc2"], ["mainpc"]]
    directory.apply(1, 11, [change(cell("nlu", "pc2", "failed"))])
    assert classes(directory) == [["mainpc"]]


def test_a_host_out_of_reach_comes_after_doubtful_ones_until_it_is_cleared() -> None:
    directory = filled(host("pc2"), host("pc3", "busy"), cell("nlu", "pc2"), cell("nlu", "pc3"))
    directory.mark_unreachable("pc2", 1)
    assert classes(directory) == [["pc3"], ["pc2"]] and not directory.is_reachable("pc2")
    directory.apply(1, 12, [change(cell("nlu", "pc3"), gone=True), change(host("pc3"))])
    assert classes(directory) == [["pc2"]]
    directory.clear("pc2")
    assert directory.is_reachable("pc2")


def test_a_new_incarnation_is_not_out_of_reach() -> None:
    directory = filled(host("pc2"), host("pc3", "busy"), cell("nlu", "pc2"), cell("nlu", "pc3"))
    directory.mark_unreachable("pc2", 1)
    directory.apply(1, 11, [change(host("pc2", incarnation=2))])
    assert classes(directory) == [["pc2"], ["pc3"]] and directory.is_reachable("pc2")


@pytest.mark.parametrize("state", ["dead", "stuck", "leaving"])
def test_a_host_without_a_lease_is_no_candidate(state: str) -> None:
    directory = filled(host("pc2", state, reason="why", since=997.0), cell("nlu", "pc2"))
    assert refusal(directory).message == f"nlu is served by pc2, which is {state} since 3 s (why)"


def test_a_call_pinned_to_a_host_goes_there_or_says_why_not() -> None:
    directory = filled(host("mainpc"), host("pc2", "busy"), cell("nlu", "mainpc"), cell("nlu", "pc2"))
    assert classes(directory, place="pc2") == [["pc2"]]
    unknown = refusal(directory, place="pc3")
    assert unknown.message == "nlu cannot be sent to pc3: the mesh has no host of this name now"
    directory.apply(1, 11, [change(host("pc3"))])
    assert refusal(directory, place="pc3").message == "nlu is not offered by pc3"


def test_a_call_pinned_to_an_instance_has_no_other_candidate() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2"), cell("nlu", "pc2", "degraded", number=2), cell("tts", "pc2"))
    assert classes(directory, place="pc2") == [["pc2"], ["pc2#2"]]
    assert classes(directory, place="pc2#1") == [["pc2"]] and classes(directory, place="pc2#2") == [["pc2#2"]]
    assert classes(directory, "tts", "pc2#1") == [["pc2"]]
    assert refusal(directory, place="pc2#3").message == "nlu has no instance 3 on pc2, where there are 1, 2"


def test_starting_instances_are_told_apart_so_that_a_call_may_wait() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2", "starting"))
    assert [row.host for row in directory.starting("nlu")] == ["pc2"]
    assert directory.starting("nlu", "mainpc") == ()
    error = refusal(directory)
    assert error.message == "nlu is starting on pc2" and error.details["retry_after"] < 1


# saying why not


def test_a_name_nobody_configured_or_announced_is_unknown_and_the_nearest_is_suggested() -> None:
    directory = filled(host("pc2"), cell("memory_orchestrator", "pc2"), known=["memory_client"])
    with pytest.raises(UnknownService, match="did you mean memory_orchestrator") as caught:
        directory.candidates("memory_orchestrater")
    assert caught.value.details == {"suggestion": "memory_orchestrator"}
    with pytest.raises(UnknownService, match="`mesh agents` lists"):
        directory.candidates("zzz")


def test_a_configured_name_is_unavailable_not_unknown() -> None:
    assert "no host has announced it" in refusal(filled(host("pc2"), known=["nlu"])).message
    directory = Directory(known_names={"nlu": ["pc2"]})
    assert "nlu is configured on pc2, of which nothing is known" in refusal(directory).message
    directory.replace(1, 1, snapshot([host("mainpc")]))
    absent = refusal(directory)
    assert absent.message == "nlu is configured on pc2, which is not in the mesh: it has not announced itself"


def test_a_name_that_was_announced_once_stays_known_with_the_fate_of_its_host() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2"))
    dead = host("pc2", "dead", reason="refused", since=990.0)
    directory.apply(1, 12, [change(dead), change(cell("nlu", "pc2"), gone=True)])
    assert refusal(directory).message == "nlu is served by pc2, which is dead since 10 s (refused)"
    directory.apply(1, 13, [change(host("pc2"), gone=True)])
    assert refusal(directory).message == "nlu is served by pc2, which has left the mesh"


def test_a_service_that_its_living_host_dropped_is_not_said_to_be_served_there() -> None:
    directory = filled(host("pc2"), host("pc3"), cell("nlu", "pc2"), cell("nlu", "pc3", "failed", reason="boom"))
    directory.apply(1, 11, [change(cell("nlu", "pc2"), gone=True)])
    assert refusal(directory).message == "nlu has failed on pc3: boom"


def test_stopped_and_quarantined_say_who_can_change_it_and_how() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2", "quarantined", reason="5 failures in 60 s"))
    error = refusal(directory)
    assert error.message == "nlu is quarantined on pc2: 5 failures in 60 s; `mesh agent start nlu` starts it"
    assert error.details["retry_after"] == 30.0
    stopped = {"kind": "desired", "gone": False, "service": "nlu", "host": "pc2", "desired": "stopped"}
    directory.apply(1, 12, [change(cell("nlu", "pc2", "stopped")), stopped])
    assert refusal(directory).message == "nlu was stopped by an operator on pc2; `mesh agent start nlu` starts it"


def test_every_host_of_a_service_is_named_and_the_soonest_hope_counts() -> None:
    directory = filled(
        host("pc2", "dead", since=998.0), host("pc3"), cell("nlu", "pc2"), cell("nlu", "pc3", "backoff", reason="boom")
    )
    error = refusal(directory)
    assert error.message == "nlu is served by pc2, which is dead since 2 s; is in backoff on pc3: boom"
    assert error.details["retry_after"] == 0.2


# following the registry


def test_changes_that_follow_are_applied_and_returned() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2"))
    busy, failed = host("pc2", "busy"), cell("nlu", "pc2", "failed")
    difference = directory.apply(1, 12, [change(busy), change(failed)])
    assert difference.hosts == ((host("pc2"), busy),) and difference.instances == ((cell("nlu", "pc2"), failed),)
    assert directory.position == (1, 12) and directory.instances("nlu") == (failed,)


def test_changes_known_already_are_skipped_and_old_ones_change_nothing() -> None:
    directory = filled(host("pc2"))
    assert not directory.apply(1, 10, [change(host("pc2", "dead"))])
    assert not directory.apply(0, 99, [change(host("pc2", "dead"))])
    directory.apply(1, 12, [change(host("pc2", "dead")), change(host("pc3")), change(host("pc4"))])
    assert directory.host("pc2") == host("pc2") and directory.host("pc4") is not None  # the first was revision 10


def test_missing_changes_and_a_new_epoch_are_a_gap_and_change_nothing() -> None:
    directory = filled(host("pc2"))
    for epoch, revision in ((1, 12), (2, 1)):
        difference = directory.apply(epoch, revision, [change(host("pc2", "dead"))])
        assert difference == Difference(gap=True)
    assert directory.host("pc2") == host("pc2") and directory.position == (1, 10)


def test_a_malformed_change_or_snapshot_is_refused_whole() -> None:
    directory = filled(host("pc2"))
    for bad in ({"kind": "host", "gone": False}, {"kind": "planet", "gone": False}, {"gone": True}, 7,
                {"kind": "desired", "gone": False, "service": "nlu", "host": "pc2", "desired": "maybe"},
                {"kind": "override", "gone": False, "service": "nlu", "key": "a"}):
        with pytest.raises(ProtocolError):
            directory.apply(1, 12, [change(host("pc3")), bad])
    with pytest.raises(ProtocolError, match="has no instances"):
        directory.replace(1, 12, {"settled": True, "hosts": []})
    with pytest.raises(ProtocolError):
        directory.replace(1, 12, {**snapshot([host("pc3")]), "instances": [{"service": 1}]})
    assert directory.position == (1, 10) and directory.host("pc3") is None


def test_a_snapshot_replaces_everything_and_an_older_one_nothing() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2"))
    assert not directory.replace(1, 9, snapshot([])) and not directory.replace(0, 99, snapshot([]))
    difference = directory.replace(1, 20, snapshot([host("pc3"), cell("nlu", "pc3")]))
    assert difference.hosts == ((host("pc2"), None), (None, host("pc3")))
    assert directory.instances("nlu") == (cell("nlu", "pc3"),)


def test_a_registry_that_restarted_takes_nobody_away_before_it_has_settled() -> None:
    directory = filled(host("mainpc"), host("pc2"), cell("tts", "mainpc"), cell("nlu", "pc2"), cell("tts", "pc2"))
    assert not directory.replace(2, 1, snapshot([host("mainpc"), cell("tts", "mainpc")], settled=False))
    assert classes(directory) == [["pc2"]]
    back = host("pc2", incarnation=2)
    directory.apply(2, 3, [change(back), change(cell("nlu", "pc2", "starting"))])
    assert directory.host("pc2") == back and [row.host for row in directory.instances("tts")] == ["mainpc"]
    directory.apply(2, 4, [{"kind": "settled", "gone": False}])
    assert directory.host("pc2") == back and directory.view.settled


def test_who_did_not_come_back_is_gone_when_the_registry_has_settled() -> None:
    directory = filled(host("pc2"), cell("nlu", "pc2"))
    directory.replace(2, 0, snapshot([], settled=False))
    directory.replace(2, 1, snapshot([host("mainpc")], settled=False))  # still carried through another one
    assert classes(directory) == [["pc2"]]
    difference = directory.apply(2, 2, [{"kind": "settled", "gone": False}])
    assert difference.hosts == ((host("pc2"), None),) and difference.instances == ((cell("nlu", "pc2"), None),)
    assert refusal(directory).message == "nlu is served by pc2, which has left the mesh"


def test_desired_states_and_overrides_follow_too() -> None:
    directory = filled(host("pc2"))
    wanted = {"kind": "desired", "gone": False, "service": "nlu", "host": "pc2", "desired": "stopped"}
    number = {"kind": "override", "gone": False, "service": "nlu", "key": "limit", "value": 1}
    difference = directory.apply(1, 12, [wanted, number])
    assert difference.desired == (("nlu", "pc2"),) and difference.overrides == ("nlu",)
    assert directory.view.desired == {("nlu", "pc2"): "stopped"}
    assert directory.apply(1, 13, [{**number, "value": True}]).overrides == ("nlu",)  # 1 == True, but no such setting
    directory.apply(1, 14, [{**number, "gone": True}])
    assert directory.view.overrides == {}


# the own host


def test_a_change_of_one_service_here_touches_no_other() -> None:
    directory = Directory()
    directory.set_own(host("mainpc"), [cell("nlu", "mainpc"), cell("tts", "mainpc")])
    assert classes(directory) == classes(directory, "tts") == [["mainpc"]]
    directory.set_own_service("nlu", [cell("nlu", "mainpc", "degraded"), cell("nlu", "mainpc", number=2)])
    assert [[row.number for row in rows] for rows in directory.candidates("nlu")] == [[2], [1]]
    assert [row.service for row in directory.candidates("tts")[0]] == ["tts"]
    directory.set_own_service("nlu", [])
    assert directory.instances("nlu") == () and directory.is_known("nlu")
    assert refusal(directory).message.startswith("nlu belongs to mainpc")
    directory.set_own_service("asr", [cell("asr", "mainpc")])
    assert classes(directory, "asr") == [["mainpc"]]


def test_the_own_host_is_known_without_and_better_than_by_the_registry() -> None:
    directory = Directory()
    directory.set_own(host("mainpc"), [cell("nlu", "mainpc")])
    assert classes(directory) == [["mainpc"]] and list(directory.services()) == ["nlu"]
    directory.replace(1, 1, snapshot([host("mainpc", "stuck"), cell("nlu", "mainpc"), cell("tts", "mainpc")]))
    assert classes(directory) == [["mainpc"]] and directory.hosts() == [host("mainpc")]
    directory.set_own(host("mainpc"), [cell("nlu", "mainpc", "failed", reason="boom")])
    assert refusal(directory).message == "nlu has failed on mainpc: boom"
    assert "mainpc" in refusal(directory, "tts").message  # the registry still lists what was dropped here
