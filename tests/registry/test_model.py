"""Whatever happens to hosts in whatever order: the promises of the registry hold.

A machine of hosts that start, announce, beat, hang, lose links, are refused, leave and start again drives the leases;
beside it stands what is really the case. After every step: nothing is listed without a reason, nothing well or merely
busy is left out, incarnations only grow, and who follows the changes has what the snapshot says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mesh.directory import Directory, unpack_snapshot
from mesh.errors import PermissionDenied
from registry.changes import HostChange
from registry.leases import BUSY_AFTER, BUSY_LIMIT, GRACE, LEASE, LOST_LIMIT, Leases
from registry.table import Table
from tests.registry.rows import cells, host

NAMES = st.sampled_from(["mainpc", "pc2"])
SERVICES = st.lists(st.sampled_from(["nlu", "tts", "asr"]), unique=True)
STEP = 0.25
MARGIN = 2 * STEP


@dataclass
class Process:
    """One supervisor process as it really is."""

    incarnation: int
    links: set[str] = field(default_factory=set)
    turning: bool = True
    turned: float = 0.0
    announced: float | None = None
    lost: float | None = None
    proven_dead: bool = False
    withdrew: bool = False


class Mesh(RuleBasedStateMachine):
    """The leases under everything that can happen."""

    @initialize(log=st.sampled_from([3, 4096]))
    def start(self, log: int) -> None:
        self.now = 50.0
        self.started = self.now
        self.leases = Leases(self.now)
        self.table = Table(9, log=log)
        self.directory = Directory()
        self.directory.replace(9, 0, unpack_snapshot(self.table.snapshot()))
        self.processes: dict[str, Process] = {}
        self.numbers = 0
        self.newest: dict[str, int] = {}
        for name in ("mainpc", "pc2"):
            self.host_joins(name, ["nlu"], ("session", "beat"))

    def tick(self) -> None:
        for change in self.leases.tick(self.now, self.now):
            if isinstance(change, HostChange) and change.record is not None:
                assert change.record.incarnation >= self.newest.get(change.name, 0)
                self.newest[change.name] = change.record.incarnation
            self.table.record(change)

    def follow(self) -> None:
        changes = self.table.since(*self.directory.position)
        if changes is None:
            self.directory.replace(9, self.table.revision, unpack_snapshot(self.table.snapshot()))
        else:
            assert not self.directory.apply(9, self.table.revision, changes).gap

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 6.0, 30.0, 70.0]), follow=st.booleans())
    def time_passes(self, seconds: float, follow: bool) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += STEP
            for name, process in self.processes.items():
                if process.turning:
                    process.turned = self.now
                if "beat" in process.links:
                    self.leases.heartbeat(name, process.incarnation, self.now - process.turned, self.now)
            self.tick()
        if follow:
            self.follow()

    @rule(name=NAMES)
    def process_starts(self, name: str) -> None:
        old = self.processes.get(name)
        if old is not None and old.links:
            incarnation = old.incarnation + 1
            for attempt in (self.leases.admit, lambda name, number: self.link(name, number, "beat")):
                try:
                    attempt(name, incarnation)
                except PermissionDenied:
                    continue
                raise AssertionError("a second supervisor was let in beside the first")
            return
        self.numbers += 1
        self.processes[name] = Process(incarnation=self.numbers, turned=self.now)

    @rule(name=NAMES, services=SERVICES, kinds=st.sampled_from([("session", "beat"), ("session",)]))
    def host_joins(self, name: str, services: list[str], kinds: tuple[str, ...]) -> None:
        """Do all that a start does, with a new process where there is none to go on with."""
        process = self.processes.get(name)
        if process is None or not process.links:
            self.process_starts(name)
        self.host_announces(name, services)
        for kind in kinds:
            self.link_comes_up(name, kind)

    @rule(name=NAMES)
    def host_is_killed(self, name: str) -> None:
        for kind in ("beat", "session"):
            self.link_breaks(name, kind)

    def link(self, name: str, incarnation: int, kind: str) -> None:
        self.leases.link_up(name, incarnation, (incarnation, kind), "heartbeat" if kind == "beat" else "host", self.now)

    @rule(name=NAMES, kind=st.sampled_from(["beat", "session"]))
    def link_comes_up(self, name: str, kind: str) -> None:
        process = self.processes.get(name)
        if process is None or process.withdrew or kind in process.links:
            return
        self.link(name, process.incarnation, kind)  # never refused: the older one is gone
        process.links.add(kind)
        if kind == "beat":
            process.lost = None
        self.tick()

    @rule(name=NAMES, kind=st.sampled_from(["beat", "session"]))
    def link_breaks(self, name: str, kind: str) -> None:
        process = self.processes.get(name)
        if process is None or kind not in process.links:
            return
        process.links.discard(kind)
        self.leases.link_down(name, (process.incarnation, kind), self.now)
        if kind == "beat":
            process.lost = self.now
        self.tick()

    @rule(name=NAMES, services=SERVICES)
    def host_announces(self, name: str, services: list[str]) -> None:
        process = self.processes.get(name)
        if process is None or process.withdrew:
            return
        was_out = not any(row.name == name and row.incarnation == process.incarnation and row.state != "dead"
                          for row in self.table.hosts.values())
        self.leases.announce(host(name, process.incarnation), cells(*services, where=name), self.now)
        if was_out:  # a new lease begins: what was held against the old one is forgotten
            process.lost, process.proven_dead = None, False
            process.turned = self.now
        process.announced = self.now
        self.tick()

    @rule(name=NAMES)
    def older_incarnation_speaks(self, name: str) -> None:
        process = self.processes.get(name)
        if process is None or process.announced is None:
            return
        try:
            self.leases.announce(host(name, process.incarnation - 1), cells("ghost", where=name), self.now)
        except PermissionDenied:
            return
        raise AssertionError("an older incarnation was let in")

    @rule(name=NAMES)
    def connection_is_refused(self, name: str) -> None:
        process = self.processes.get(name)
        if process is None or process.links:
            return
        self.leases.refused(name, process.incarnation)
        process.proven_dead = process.announced is not None
        self.tick()

    @rule(name=NAMES)
    def host_withdraws(self, name: str) -> None:
        process = self.processes.get(name)
        if process is None or process.announced is None:
            return
        self.leases.withdraw(name, process.incarnation, self.now)
        process.withdrew = True
        self.tick()

    @rule(name=NAMES)
    def loop_hangs_or_turns_again(self, name: str) -> None:
        process = self.processes.get(name)
        if process is not None:
            process.turning = not process.turning

    # promises

    @invariant()
    def nothing_outlives_its_lease(self) -> None:
        settled = self.now >= self.started + GRACE + MARGIN
        for _, name, _ in self.table.instances:
            process = self.processes[name]
            if process.announced is None or process.incarnation != self.table.hosts[name].incarnation:
                continue  # the row is the older incarnation's, which the new one has not replaced yet
            assert not process.withdrew and not process.proven_dead
            if "beat" in process.links:
                assert self.now - process.turned <= BUSY_AFTER + BUSY_LIMIT + MARGIN
            elif settled and process.lost is not None:
                assert self.now - process.lost <= LOST_LIMIT + MARGIN
            elif settled:
                assert self.now - process.announced <= LEASE + MARGIN

    @invariant()
    def who_lives_is_listed_even_when_busy(self) -> None:
        for name, process in self.processes.items():
            row = self.table.hosts.get(name)
            if row is None or row.incarnation != process.incarnation or row.state == "dead" or process.withdrew:
                continue
            if "beat" in process.links and self.now - process.turned < BUSY_LIMIT:
                assert row.state in ("ok", "busy"), (row, self.now - process.turned)

    @invariant()
    def only_what_was_proven_or_waited_for_is_dead(self) -> None:
        for name, process in self.processes.items():
            row = self.table.hosts.get(name)
            if row is None or row.incarnation != process.incarnation or row.state != "dead" or process.proven_dead:
                continue
            assert self.now >= self.started + GRACE
            assert process.announced is not None

    @invariant()
    def rows_belong_to_listed_hosts(self) -> None:
        for _, name, _ in self.table.instances:
            assert self.table.hosts[name].state in ("ok", "busy", "suspect")

    @invariant()
    def who_follows_the_changes_has_what_the_snapshot_says(self) -> None:
        follower, reader = Directory(), Directory()
        changes = self.table.since(*self.directory.position)
        if changes is not None:
            follower = self.directory
            assert not follower.apply(9, self.table.revision, changes).gap
        else:
            follower.replace(9, self.table.revision, unpack_snapshot(self.table.snapshot()))
        reader.replace(9, self.table.revision, unpack_snapshot(self.table.snapshot()))
        assert follower.view == reader.view


TestMesh: Any = Mesh.TestCase
TestMesh.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
