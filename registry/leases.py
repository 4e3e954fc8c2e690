"""Who is in the mesh and how well: the leases of hosts, decided from signs of life and the time.

Facts come in (`announce`, `link_up`, `link_down`, `heartbeat`, `refused`, `withdraw`), `tick` judges them and returns
what changed in the table. There is no other truth about who is alive. The rules:

* *Life* is the link of the heartbeat socket, *progress* the stamp of the loop's last turn that heartbeats carry.
  Link and progress: ok. Link without progress: busy, then stuck. No link: suspect, then dead.
* A host's instances are in the table while it is ok, busy or suspect. Stuck takes them out until its loop turns again;
  dead and leaving end the lease, and only a new announcement begins another.
* The newest incarnation wins, once every link of the older one is lost; until then it is refused, since two processes
  with one name would both be called. An older incarnation is never heard again.
* Time in which the registry itself did not run counts for nobody, and in its first seconds nobody is taken out for
  not having come back yet. A host's own goodbye and a refused connection are proof, and count at once.

`now` is in seconds of a monotonic clock, `wall` in wall-clock seconds for people to read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from mesh.errors import PermissionDenied
from mesh.metrics import REGISTRY, Sample, counter, gauge
from mesh.records import LISTED_STATES, HostRecord, HostState, InstanceRecord, inventory_hash
from registry.changes import Change, HostChange, InstanceChange, Settled

AGE = gauge("mesh_registry_lease_age_seconds", "Time since a host's lease was renewed.", "peer", programs=REGISTRY)
RENEWALS = counter("mesh_registry_renewals_total", "Heartbeats that renewed a lease.", programs=REGISTRY)
ANNOUNCEMENTS = counter("mesh_registry_announcements_total", "Inventories that hosts announced.", programs=REGISTRY)
ENDED = counter("mesh_registry_leases_ended_total", "Leases that ended: `dead`, `withdrawn` by their host, `replaced`.",
                "cause", programs=REGISTRY)

LEASE = 5.0
"""How long an announcement holds by itself: ten heartbeats of 0.5 s, so that the heartbeat link can be made."""
BUSY_AFTER = 1.0
"""Age of the loop's last turn that makes a host busy: two heartbeats; under full load a loop lags up to half of it."""
BUSY_LIMIT = 60.0
"""How long a busy host keeps its lease: longer than any call should hold a loop, short enough to be noticed."""
LOST_LIMIT = 2.0
"""How long a host may be without a link: a redial takes 0.5 s at most, and a host without power is dead within 5 s."""
GRACE = 5.0
"""How long a registry that has just started waits for hosts to come back: ten redials."""
FIRST_BEAT = 0.5
"""What a new link has to report progress before its host counts as busy: one heartbeat."""
ASK_AFTER = 1.0
"""How long heartbeats may name an inventory that was not announced: the announcement may be on its way."""
PAUSE = 1.0
"""A gap between two ticks that means the registry itself was stopped; ticks come four times a second or more."""

LinkKind = Literal["heartbeat", "host"]


@dataclass(slots=True)
class _Lease:
    """The facts about one incarnation of one host, and what the table was last told of it."""

    announced: HostRecord
    renewed: float
    turned: float
    instances: dict[tuple[str, int], InstanceRecord] = field(default_factory=dict)
    hash: bytes = b""
    lost: float | None = None
    withdrawn: float | None = None
    ended: str = ""
    state: HostState = "ok"
    reason: str = ""
    since: float | None = None
    told: HostRecord | None = None
    told_instances: dict[tuple[str, int], InstanceRecord] = field(default_factory=dict)
    stale: bool = True

    def standing(self, now: float) -> float:
        """Return how long the loop had not turned when it was last seen: the time without a link says nothing."""
        return (now if self.lost is None else self.lost) - self.turned

    def come_back(self, now: float) -> None:
        """Go on where the link was lost, with time for a first heartbeat, which says how it really is."""
        standing = self.standing(self.renewed)
        self.turned = now - (standing if standing > BUSY_AFTER else BUSY_AFTER - FIRST_BEAT)
        self.lost = None


class Leases:
    """The leases of every host that ever announced itself to this registry."""

    def __init__(self, now: float, *, grace: float = GRACE) -> None:
        self._leases: dict[str, _Lease] = {}
        self._links: dict[str, dict[object, tuple[int, LinkKind]]] = {}
        self._newest: dict[str, int] = {}
        self._withdrawn: dict[str, int] = {}
        self._lacking: dict[str, float] = {}
        self._settle_at = now + grace
        self._settled = False
        self._ticked = now
        self._renewals = 0
        self._announcements = 0
        self._ended: Counter[str] = Counter(dead=0, withdrawn=0, replaced=0)

    # facts

    def announce(self, host: HostRecord, instances: Iterable[InstanceRecord], now: float) -> None:
        """Begin or renew a host's lease with its whole inventory.

        Raises `PermissionDenied` for an incarnation that may not speak for the host (see `admit`).
        """
        self.admit(host.name, host.incarnation)
        self._announcements += 1
        rows = {(row.service, row.number): row for row in instances}
        before = self._leases.get(host.name)
        if before is None or before.announced.incarnation != host.incarnation or before.ended:
            lease = _Lease(host, renewed=now, turned=now)
            if before is not None:  # the table still shows what was told of the one before
                lease.told, lease.told_instances = before.told, before.told_instances
            self._leases[host.name] = lease
            self._newest[host.name] = host.incarnation
        else:
            lease = before
            lease.announced, lease.renewed = host, max(now, lease.renewed)
        lease.instances, lease.hash, lease.stale = rows, inventory_hash(rows.values()), True

    def link_up(self, name: str, incarnation: int, link: object, kind: LinkKind, now: float) -> None:
        """Take note of a new link; `link` is any value that names it. Raises `PermissionDenied` as `admit` does."""
        self.admit(name, incarnation)
        lease = self._leases.get(name)
        if lease is not None and incarnation > lease.announced.incarnation and not lease.ended:
            self._end(lease, f"incarnation {incarnation} has taken its place", "replaced")
        self._newest[name] = incarnation
        self._links.setdefault(name, {})[link] = incarnation, kind
        if kind == "heartbeat" and lease is not None and incarnation == lease.announced.incarnation:
            lease.come_back(now)

    def link_down(self, name: str, link: object, now: float) -> None:
        """Take note that a link is lost."""
        incarnation, kind = self._links.get(name, {}).pop(link, (0, "host"))
        if not self._links.get(name):
            self._links.pop(name, None)
        lease = self._leases.get(name)
        if lease is None or incarnation != lease.announced.incarnation:
            return
        if kind == "heartbeat" and not self._alive(name, incarnation):
            lease.lost = now

    def heartbeat(self, name: str, incarnation: int, age: float, now: float) -> None:
        """Renew the lease; `age` is how many seconds ago the host's loop last turned."""
        lease = self._leases.get(name)
        if lease is not None and lease.announced.incarnation == incarnation and not lease.ended:
            self._renewals += 1
            lease.renewed = max(lease.renewed, now)
            lease.turned = now - max(0.0, age)

    def refused(self, name: str, incarnation: int) -> None:
        """Take note that the announced address of a host refused a connection: nobody lives there.

        Means nothing while a heartbeat link is up, which is better proof.
        """
        lease = self._leases.get(name)
        if lease is not None and lease.announced.incarnation == incarnation and not self._alive(name, incarnation):
            self._end(lease, "its link is lost and its address refuses connections", "dead")

    def withdraw(self, name: str, incarnation: int, now: float) -> None:
        """End the lease at the host's own word: it finishes what it runs and takes no more."""
        lease = self._leases.get(name)
        if lease is not None and lease.announced.incarnation == incarnation and lease.withdrawn is None:
            self._end(lease, "it is stopping", "withdrawn")
            lease.withdrawn = now
            self._withdrawn[name] = incarnation

    # questions

    def admit(self, name: str, incarnation: int) -> None:
        """Raise `PermissionDenied` if this incarnation may not speak for the host."""
        newest = self._newest.get(name, incarnation)
        if incarnation < newest:
            raise PermissionDenied(
                f"host {name} announced incarnation {incarnation}, but incarnation {newest} has been here since; "
                "start its supervisor again (and set its clock, if it was set back)", rule="incarnation",
            )
        lease = self._leases.get(name)
        if incarnation > newest and any(older == newest for older, _ in self._links.get(name, {}).values()):
            pid = f" (pid {lease.announced.pid} at {lease.announced.address})" if lease is not None else ""
            raise PermissionDenied(
                f"host {name} is already running as incarnation {newest}{pid} and its link is up; "
                "stop that one first, or start this one under another host name", rule="incarnation",
            )
        if self._withdrawn.get(name) == incarnation:
            raise PermissionDenied(
                f"host {name} withdrew as incarnation {incarnation}; start its supervisor again", rule="incarnation"
            )

    def knows(self, name: str, incarnation: int, inventory: bytes) -> bool:
        """Tell whether nothing need be announced: the lease runs with exactly this inventory, or was withdrawn."""
        if self._withdrawn.get(name) == incarnation:
            return True
        lease = self._leases.get(name)
        if lease is None or lease.ended or lease.announced.incarnation != incarnation:
            return False
        return lease.hash == inventory

    def lacks(self, name: str, incarnation: int, inventory: bytes, now: float) -> bool:
        """Tell whether to ask a host for its announcement: for `ASK_AFTER` its heartbeats have named another inventory.

        Says so again after the same time, should the host not have heard.
        """
        if self.knows(name, incarnation, inventory):
            self._lacking.pop(name, None)
            return False
        if now - self._lacking.setdefault(name, now) < ASK_AFTER:
            return False
        self._lacking[name] = now
        return True

    def age(self, name: str, now: float) -> float:
        """Return the seconds since the last renewal of a host's lease."""
        lease = self._leases.get(name)
        return 0.0 if lease is None else max(0.0, now - lease.renewed)

    def samples(self, now: float) -> Iterator[Sample]:
        """Yield the figures of the leases at `now`."""
        for name in self._leases:
            yield AGE.sample(self.age(name, now), name)
        yield RENEWALS.sample(self._renewals)
        yield ANNOUNCEMENTS.sample(self._announcements)
        for cause, count in self._ended.items():
            yield ENDED.sample(count, cause)

    def lost(self) -> list[HostRecord]:
        """Return the hosts whose heartbeat link is lost and who are not dead yet: those worth a probe."""
        return [lease.announced for lease in self._leases.values() if lease.lost is not None and not lease.ended]

    # judgement

    def tick(self, now: float, wall: float, only: str | None = None) -> list[Change]:
        """Judge every lease, or `only` that of one host, at `now`.

        Returns what changed in the table, hosts before their instances.
        """
        self._forgive(now)
        changes: list[Change] = []
        if not self._settled and now >= self._settle_at:
            self._settled = True
            changes.append(Settled())
        for name in list(self._leases) if only is None else self._leases.keys() & {only}:
            lease = self._leases[name]
            self._judge(name, lease, now, wall)
            if lease.stale:
                changes += _publish(name, lease)
            if lease.withdrawn is not None and (name not in self._links or now - lease.withdrawn >= LEASE):
                changes.append(HostChange(name, None))
                del self._leases[name]
        return changes

    def _forgive(self, now: float) -> None:
        """Move everything on by the time in which the registry did not run."""
        pause = now - self._ticked
        self._ticked = now
        if pause <= PAUSE:
            return
        self._settle_at += pause
        for lease in self._leases.values():
            lease.renewed = min(now, lease.renewed + pause)
            lease.turned = min(now, lease.turned + pause)
            if lease.lost is not None:
                lease.lost = min(now, lease.lost + pause)
            if lease.withdrawn is not None:
                lease.withdrawn = min(now, lease.withdrawn + pause)

    def _judge(self, name: str, lease: _Lease, now: float, wall: float) -> None:
        state, reason = self._state(name, lease, now)
        if state == "dead" and not lease.ended:
            self._end(lease, reason, "dead")
        if lease.since is None or state != lease.state:
            lease.since = wall
            lease.stale = True
        if reason != lease.reason:
            lease.stale = True
        lease.state, lease.reason = state, reason

    def _state(self, name: str, lease: _Lease, now: float) -> tuple[HostState, str]:
        """Return the state that the facts amount to, and why."""
        if lease.withdrawn is not None:
            return "leaving", lease.ended
        if lease.ended:
            return "dead", lease.ended
        if self._alive(name, lease.announced.incarnation):
            return _progress(lease.standing(now))
        if lease.lost is not None:
            if self._settled and now - lease.lost >= LOST_LIMIT:
                return "dead", f"its heartbeat link was lost and not made again within {LOST_LIMIT:.0f} s"
            state, reason = _progress(lease.standing(now))
            return (state, reason) if state == "stuck" else ("suspect", "its heartbeat link is lost")
        if self._settled and now - lease.renewed >= LEASE:
            return "dead", f"it made no heartbeat link within {LEASE:.0f} s"
        return "ok", ""

    def _alive(self, name: str, incarnation: int) -> bool:
        return (incarnation, "heartbeat") in self._links.get(name, {}).values()

    def _end(self, lease: _Lease, reason: str, cause: Literal["dead", "withdrawn", "replaced"]) -> None:
        if not lease.ended:
            self._ended[cause] += 1
        lease.ended, lease.instances, lease.hash, lease.stale = lease.ended or reason, {}, b"", True


def _progress(age: float) -> tuple[HostState, str]:
    """Return the state of a host that lives, by the seconds since its loop last turned."""
    if age <= BUSY_AFTER:
        return "ok", ""
    if age <= BUSY_AFTER + BUSY_LIMIT:
        return "busy", f"its loop has not turned for over {BUSY_AFTER:.0f} s"
    return "stuck", f"its loop has not turned for over {BUSY_LIMIT:.0f} s"


def _publish(name: str, lease: _Lease) -> list[Change]:
    """Return the changes from what the table was told to what holds now."""
    record = replace(lease.announced, state=lease.state, reason=lease.reason, since=lease.since or 0.0)
    rows = lease.instances if lease.state in LISTED_STATES else {}
    changes: list[Change] = [HostChange(name, record)] if record != lease.told else []
    changes += [InstanceChange(key[0], name, key[1], rows.get(key)) for key in sorted({*rows, *lease.told_instances})
                if rows.get(key) != lease.told_instances.get(key)]
    lease.told, lease.told_instances, lease.stale = record, dict(rows), False
    return changes
