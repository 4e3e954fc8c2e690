"""The leases: each host state, who may speak for a host, and what time alone may do."""

from __future__ import annotations

import pytest

from mesh.errors import PermissionDenied
from mesh.records import HostRecord, inventory_hash
from registry.changes import HostChange, InstanceChange, Settled
from registry.leases import BUSY_LIMIT, Leases
from tests.figures import read
from tests.registry.rows import cells, host

STEP = 0.25


class Watch:
    """Leases with a clock that ticks as the daemon does, and what the table shows of them."""

    def __init__(self, *, grace: float = 0.0) -> None:
        self.now = 100.0
        self.leases = Leases(self.now, grace=grace)
        self.hosts: dict[str, HostRecord] = {}
        self.listed: set[tuple[str, str]] = set()
        self.settled = False
        self.tick()

    def tick(self) -> None:
        for change in self.leases.tick(self.now, 1_000_000 + self.now):
            if isinstance(change, HostChange):
                if change.record is None:
                    del self.hosts[change.name]
                else:
                    self.hosts[change.name] = change.record
            elif isinstance(change, InstanceChange):
                assert change.host in self.hosts, "an instance came before its host"
                if change.record is None:
                    self.listed.remove((change.service, change.host))
                else:
                    self.listed.add((change.service, change.host))
            elif isinstance(change, Settled):
                self.settled = True

    def passes(self, seconds: float, *beating: str) -> None:
        """Let time pass; the hosts named send heartbeats of a loop that turns."""
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(until, self.now + STEP)
            for name in beating:
                self.leases.heartbeat(name, 1, 0.1, self.now)
            self.tick()

    def joins(self, name: str = "pc2", incarnation: int = 1, *, beats: bool = True) -> None:
        """Have a host connect and announce the service nlu."""
        self.leases.link_up(name, incarnation, f"{name}/host/{incarnation}", "host", self.now)
        self.leases.announce(host(name, incarnation), cells("nlu", where=name), self.now)
        if beats:
            self.leases.link_up(name, incarnation, f"{name}/beat/{incarnation}", "heartbeat", self.now)
        self.tick()

    def loses(self, name: str = "pc2", incarnation: int = 1, *kinds: str) -> None:
        """Have links of a host break, by default both."""
        for kind in kinds or ("beat", "host"):
            self.leases.link_down(name, f"{name}/{kind}/{incarnation}", self.now)
        self.tick()

    def state(self, name: str = "pc2") -> str:
        return self.hosts[name].state


def test_a_host_that_announces_itself_is_ok_at_once_and_listed() -> None:
    watch = Watch()
    watch.joins()
    assert watch.state() == "ok" and watch.listed == {("nlu", "pc2")}
    watch.passes(600, "pc2")
    assert watch.state() == "ok" and watch.hosts["pc2"].since == 1_000_100


def test_a_loop_that_does_not_turn_makes_a_host_busy_and_it_stays_listed() -> None:
    watch = Watch()
    watch.joins()
    watch.passes(2, "pc2")
    watch.passes(1.5)
    assert watch.state() == "busy" and watch.listed
    watch.passes(BUSY_LIMIT - 2)
    assert watch.state() == "busy" and watch.listed
    watch.passes(0.5, "pc2")
    assert watch.state() == "ok" and watch.hosts["pc2"].reason == ""


def test_heartbeats_that_tell_of_a_blocked_loop_do_not_make_it_look_well() -> None:
    watch = Watch()
    watch.joins()
    for step in range(1, 20):
        watch.now += 0.5
        watch.leases.heartbeat("pc2", 1, 0.5 * step, watch.now)
        watch.tick()
    assert watch.state() == "busy" and watch.leases.age("pc2", watch.now) == 0.0


def test_a_host_stuck_for_longer_than_the_limit_is_unlisted_until_its_loop_turns() -> None:
    watch = Watch()
    watch.joins()
    watch.passes(BUSY_LIMIT + 2)
    assert watch.state() == "stuck" and not watch.listed
    watch.leases.heartbeat("pc2", 1, 0.0, watch.now)
    watch.tick()
    assert watch.state() == "ok" and watch.listed == {("nlu", "pc2")}


def test_a_stuck_host_whose_link_flaps_is_not_listed_again() -> None:
    watch = Watch()
    watch.joins()
    watch.passes(BUSY_LIMIT + 2)
    watch.loses("pc2", 1, "beat")
    assert watch.state() == "stuck" and not watch.listed
    watch.leases.link_up("pc2", 1, "another", "heartbeat", watch.now)
    watch.tick()
    assert watch.state() == "stuck" and not watch.listed
    watch.leases.heartbeat("pc2", 1, 0.1, watch.now)
    watch.tick()
    assert watch.state() == "ok" and watch.listed


def test_a_busy_host_whose_links_flap_is_stuck_no_later() -> None:
    watch = Watch()
    watch.joins()
    for second in range(int(BUSY_LIMIT) + 2):
        watch.passes(1)
        watch.loses("pc2", 1, "beat")
        watch.leases.link_up("pc2", 1, "beat", "heartbeat", watch.now)
        watch.leases.heartbeat("pc2", 1, second + 1.0, watch.now)
        watch.leases.link_up("pc2", 1, "pc2/beat/1", "heartbeat", watch.now)
        watch.leases.link_down("pc2", "beat", watch.now)
    watch.tick()
    assert watch.state() == "stuck"


def test_a_lost_link_makes_a_host_suspect_at_once_and_dead_after_two_seconds() -> None:
    watch = Watch()
    watch.joins()
    watch.passes(3, "pc2")
    watch.loses()
    assert watch.state() == "suspect" and watch.listed
    watch.passes(1.75)
    assert watch.state() == "suspect"
    watch.passes(0.5)
    assert watch.state() == "dead" and not watch.listed
    assert watch.hosts["pc2"].reason == "its heartbeat link was lost and not made again within 2 s"


def test_a_link_made_again_in_time_ends_the_suspicion() -> None:
    watch = Watch()
    watch.joins()
    watch.loses("pc2", 1, "beat")
    watch.passes(1)
    watch.leases.link_up("pc2", 1, "another", "heartbeat", watch.now)
    watch.passes(5, "pc2")
    assert watch.state() == "ok" and watch.listed


def test_of_two_links_of_one_host_the_loss_of_one_means_nothing() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.link_up("pc2", 1, "another", "heartbeat", watch.now)
    watch.loses("pc2", 1, "beat")
    assert watch.state() == "ok"


def test_a_refused_connection_after_a_lost_link_is_death_at_once() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.refused("pc2", 1)
    watch.tick()
    assert watch.state() == "ok"  # the link is better proof
    watch.loses()
    assert [record.name for record in watch.leases.lost()] == ["pc2"]
    watch.leases.refused("pc2", 1)
    watch.tick()
    assert watch.state() == "dead" and not watch.listed and watch.leases.lost() == []


def test_a_refusal_meant_for_an_older_incarnation_means_nothing() -> None:
    watch = Watch()
    watch.joins(incarnation=2)
    watch.loses("pc2", 2)
    watch.leases.refused("pc2", 1)
    watch.tick()
    assert watch.state() == "suspect"


def test_a_dead_host_comes_back_only_by_announcing_itself() -> None:
    watch = Watch()
    watch.joins()
    inventory = inventory_hash(cells("nlu"))
    assert watch.leases.knows("pc2", 1, inventory)
    watch.loses()
    watch.passes(3)
    watch.leases.link_up("pc2", 1, "again", "heartbeat", watch.now)
    watch.passes(1, "pc2")
    assert watch.state() == "dead" and not watch.leases.knows("pc2", 1, inventory)
    watch.leases.announce(host(), cells("nlu"), watch.now)
    watch.passes(1, "pc2")
    assert watch.state() == "ok" and watch.listed and watch.leases.knows("pc2", 1, inventory)


def test_an_announcement_without_a_heartbeat_link_holds_for_one_lease() -> None:
    watch = Watch()
    watch.joins(beats=False)
    watch.passes(4.5)
    assert watch.state() == "ok" and watch.listed
    watch.passes(1)
    assert watch.state() == "dead" and not watch.listed


def test_a_new_announcement_replaces_the_inventory_row_by_row() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.announce(host(), cells("tts", "asr"), watch.now)
    watch.tick()
    assert watch.listed == {("tts", "pc2"), ("asr", "pc2")}


def test_a_host_whose_heartbeats_name_another_inventory_for_a_while_is_asked_for_it() -> None:
    watch = Watch()
    watch.joins()
    announced, other = inventory_hash(cells("nlu")), inventory_hash(cells("tts"))
    assert not watch.leases.lacks("pc2", 1, announced, watch.now)
    asked = []
    for _ in range(9):  # its announcement may be on its way, and the question may be lost
        asked.append(watch.leases.lacks("pc2", 1, other, watch.now))
        watch.now += 0.5
    assert asked == [False, False, True, False, True, False, True, False, True]
    assert not watch.leases.lacks("pc2", 1, announced, watch.now)
    assert not watch.leases.lacks("pc2", 1, other, watch.now)  # it counts from anew


# figures


def test_announcements_renewals_and_ends_are_counted() -> None:
    watch = Watch()
    watch.joins()
    watch.passes(1.0, "pc2")
    shown = read(watch.leases.samples(watch.now + 3))
    assert shown["mesh_registry_announcements_total",] == 1
    assert shown["mesh_registry_renewals_total",] == 1.0 / STEP
    assert shown["mesh_registry_lease_age_seconds", "pc2"] == 3
    watch.loses()
    watch.passes(10.0)
    assert watch.state() == "dead"
    watch.leases.withdraw("pc2", 1, watch.now)
    ended = {labels[-1]: value for labels, value in read(watch.leases.samples(watch.now)).items()
             if labels[0] == "mesh_registry_leases_ended_total"}
    assert ended == {"dead": 1, "withdrawn": 0, "replaced": 0}, "a lease ends once"


# leaving


def test_a_host_that_withdraws_is_leaving_then_gone_when_its_links_are() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.withdraw("pc2", 1, watch.now)
    watch.tick()
    assert watch.state() == "leaving" and not watch.listed
    watch.loses()
    assert watch.hosts == {}


def test_a_host_that_withdraws_and_hangs_is_gone_with_its_lease() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.withdraw("pc2", 1, watch.now)
    watch.passes(5.5, "pc2")
    assert watch.hosts == {} and not watch.listed


def test_a_withdrawn_incarnation_is_not_heard_again_but_the_next_is() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.withdraw("pc2", 1, watch.now)
    watch.loses()
    with pytest.raises(PermissionDenied, match="withdrew as incarnation 1"):
        watch.leases.announce(host(), cells("nlu"), watch.now)
    assert watch.leases.knows("pc2", 1, b"")  # so that it is not asked to announce itself
    watch.joins("pc2", 2)
    assert watch.state() == "ok" and watch.listed


# incarnations


def test_a_second_supervisor_with_the_same_name_is_refused_while_the_first_is_connected() -> None:
    watch = Watch()
    watch.joins()
    words = r"already running as incarnation 1 \(pid 42 at 127.0.0.1\)"
    with pytest.raises(PermissionDenied, match=words):
        watch.leases.link_up("pc2", 2, "x", "heartbeat", watch.now)
    with pytest.raises(PermissionDenied, match=words):
        watch.leases.announce(host("pc2", 2), cells("nlu"), watch.now)
    assert watch.hosts["pc2"].incarnation == 1


@pytest.mark.parametrize("first", ["link", "announcement"])
def test_a_newer_incarnation_wins_at_once_when_the_older_links_are_lost(first: str) -> None:
    watch = Watch()
    watch.joins()
    watch.loses()
    if first == "link":
        watch.leases.link_up("pc2", 2, "x", "heartbeat", watch.now)
        watch.tick()
        assert watch.state() == "dead" and watch.hosts["pc2"].reason == "incarnation 2 has taken its place"
        assert not watch.listed
    watch.leases.announce(host("pc2", 2), cells("tts"), watch.now)
    watch.tick()
    assert watch.hosts["pc2"].incarnation == 2 and watch.state() == "ok" and watch.listed == {("tts", "pc2")}


def test_an_older_incarnation_is_always_refused() -> None:
    watch = Watch()
    watch.joins(incarnation=5)
    for lost in (False, True):
        if lost:
            watch.loses("pc2", 5)
            watch.passes(10)
        with pytest.raises(PermissionDenied, match="incarnation 5 has been here since"):
            watch.leases.announce(host("pc2", 4), cells("nlu"), watch.now)
        with pytest.raises(PermissionDenied):
            watch.leases.link_up("pc2", 4, "x", "host", watch.now)


def test_late_signs_of_an_older_incarnation_do_not_touch_the_newer_one() -> None:
    watch = Watch()
    watch.joins()
    watch.leases.link_down("pc2", "pc2/host/1", watch.now)
    watch.leases.link_down("pc2", "pc2/beat/1", watch.now)
    watch.joins("pc2", 2)
    watch.leases.link_down("pc2", "pc2/beat/1", watch.now)
    watch.leases.withdraw("pc2", 1, watch.now)
    watch.leases.heartbeat("pc2", 1, 0.0, watch.now)
    watch.tick()
    assert watch.state() == "ok"


# the registry's own time


def test_a_registry_that_just_started_takes_nobody_out_for_being_away() -> None:
    watch = Watch(grace=5.0)
    watch.joins()
    watch.loses()
    watch.passes(4.5)
    assert watch.state() == "suspect" and watch.listed and not watch.settled
    watch.passes(1)
    assert watch.state() == "dead" and watch.settled


def test_a_registry_that_just_started_believes_a_goodbye_and_a_refused_connection() -> None:
    watch = Watch(grace=5.0)
    watch.joins()
    watch.loses()
    watch.leases.refused("pc2", 1)
    watch.joins("pc3")
    watch.leases.withdraw("pc3", 1, watch.now)
    watch.tick()
    assert watch.state("pc2") == "dead" and watch.state("pc3") == "leaving"


def test_time_in_which_the_registry_was_stopped_counts_for_nobody() -> None:
    watch = Watch()
    watch.joins()
    watch.joins("pc3")
    watch.loses("pc3")
    watch.passes(1, "pc2")
    watch.now += 3600
    watch.tick()
    assert watch.state() == "ok" and watch.state("pc3") == "suspect"
    watch.passes(1.5, "pc2")
    assert watch.state() == "ok" and watch.state("pc3") == "dead"


def test_a_lease_judged_alone_leaves_the_others_as_they_were_told() -> None:
    watch = Watch()
    watch.joins("pc2")
    watch.joins("pc3")
    late = watch.now + BUSY_LIMIT / 2
    for _ in range(int(BUSY_LIMIT)):  # so that no pause of the registry is forgiven
        watch.now = min(late, watch.now + 0.5)
        told = watch.leases.tick(watch.now, 1.0, only="pc2")
        assert {change.name for change in told if isinstance(change, HostChange)} <= {"pc2"}
    assert [change.name for change in watch.leases.tick(late, 1.0) if isinstance(change, HostChange)] == ["pc3"]
    assert watch.leases.tick(late, 1.0, only="a host that never was here") == []
