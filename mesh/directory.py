"""The copy of the registry's table that a host holds in memory, and who could answer a call by it.

Calls are routed from here and never by asking, so a registry that is gone stops nothing. The rules:

* Records are replaced, never changed. Each revision is one immutable `View`; what is derived for choosing (`_ranks` by
  host, `_classes` by service where there is something to choose) is built from its records and thrown away with them.
* The table is numbered (epoch, revision). A change that does not follow is not applied: `apply` reports a gap and the
  caller fetches a snapshot. An older epoch is never listened to.
* A registry that has just started knows only who has come back so far (`settled` is false). Hosts it does not mention
  yet are carried over from before until it says `settled`, so its restart takes no service away.
* The own host's rows come from its own supervisor (`set_own`); what the registry thinks of it does not matter here.
* A name that was ever configured or announced stays known: it can be unavailable, but never unknown.

What it does not know: links. Its owner tells it which hosts cannot be reached from here. Nor how to choose among
equals: that is `mesh/policy/balance.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.address import nearest
from mesh.clock import Clock
from mesh.errors import Unavailable, UnknownService
from mesh.metrics import Sample, gauge
from mesh.records import (
    GROUP,
    HEARS,
    HOST_STATES,
    LISTED_STATES,
    USABLE_STATES,
    HostRecord,
    InstanceRecord,
    inventory_hash,
    pack_snapshot,
    unpack_snapshot,
)
from mesh.topics import matches
from mesh.view import Difference, Draft, View

__all__ = [
    "Difference",
    "Directory",
    "HostRecord",
    "InstanceRecord",
    "View",
    "inventory_hash",
    "pack_snapshot",
    "unpack_snapshot",
]

REVISION = gauge("mesh_directory_revision", "Revision of the registry's table that this host has.")
HOSTS = gauge("mesh_directory_hosts", "Hosts this host knows of, by state.", "state")
SERVICES = gauge("mesh_directory_services", "Services that the registry's table lists.")

RETRY_SOON = 0.2
"""Seconds for what passes by itself at once: a start, a drain, a first restart."""
RETRY_LATER = 2.0
"""Seconds for what needs another host to come back: its redial and its announcement fit in."""
RETRY_OPERATOR = 30.0
"""Seconds for what only a person changes: stopped or quarantined."""

COMING_STATES = frozenset({"starting", "failed", "backoff", "draining"})
"""States of an instance that may soon take events of its groups, itself or as the one that takes its place."""

REMEMBERED = 10_000
"""Topics whose members are kept."""

SUGGESTED_FROM = 1000
"""Names compared to find the nearest; comparing 10^5 would take a second, an unknown name fails within 50 ms."""


Classes = tuple[tuple[InstanceRecord, ...], ...]
"""Instances of a service, the best ones in the first class."""


class Directory:
    """Who offers what, and who of them could be called."""

    def __init__(
        self, *, known_names: Iterable[str] | Mapping[str, Iterable[str]] = (), clock: Clock | None = None
    ) -> None:
        """Start empty; `known_names` are the configured services, or a map of them to their configured hosts."""
        self._clock = clock or Clock()
        self._view = View()
        self._ranks: dict[str, int] = {}
        self._classes: dict[str, Classes] = {}
        self._unreachable: dict[str, int] = {}
        self._own: HostRecord | None = None
        self._own_name = ""
        self._own_instances: dict[str, tuple[InstanceRecord, ...]] = {}
        self._left: set[str] = set()
        self._grouped: set[str] = set()
        self._members: dict[str, dict[str, Classes]] = {}
        hosts = known_names if isinstance(known_names, Mapping) else dict.fromkeys(known_names, ())
        self._configured: dict[str, frozenset[str]] = {name: frozenset(hosts[name]) for name in hosts}
        self._served: dict[str, frozenset[str]] = dict.fromkeys(hosts, frozenset())
        self._only: dict[str, frozenset[str]] = {}

    @property
    def view(self) -> View:
        """The table at its present revision, without the own host's overlay."""
        return self._view

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, revision), what a `sync` is asked from."""
        return self._view.epoch, self._view.revision

    def samples(self) -> Iterator[Sample]:
        """Yield how much of the mesh this host sees."""
        yield REVISION.sample(self._view.revision)
        states: Counter[str] = Counter(row.state for row in self.hosts())
        for state in HOST_STATES:
            yield HOSTS.sample(states[state], state)
        yield SERVICES.sample(len(self._view.services))

    # reading

    def host(self, name: str) -> HostRecord | None:
        """Return the row of a host, None if the mesh does not know it."""
        if name == self._own_name:
            return self._own
        return self._view.hosts.get(name)

    def hosts(self) -> list[HostRecord]:
        """Return every host's row, by name."""
        rows = dict(self._view.hosts)
        if self._own is not None:
            rows[self._own.name] = self._own
        return [rows[name] for name in sorted(rows)]

    def instances(self, service: str) -> tuple[InstanceRecord, ...]:
        """Return the rows of a service on all listed hosts, whatever their state; empty for a name not listed."""
        rows = self._view.services.get(service, ())
        if self._own is None:
            return rows
        others = tuple(row for row in rows if row.host != self._own_name)
        return others + self._own_instances.get(service, ())

    def services(self) -> Iterator[str]:
        """Yield every service that some host lists."""
        yield from self._view.services
        yield from (name for name in self._own_instances if name not in self._view.services)

    def is_known(self, service: str) -> bool:
        """Tell whether the name was ever configured or announced."""
        return service in self._served

    def starting(self, service: str, place: str | None = None) -> tuple[InstanceRecord, ...]:
        """Return the instances that are about to be ready, for whom a call may wait."""
        rows = self.instances(service)
        return tuple(row for row in rows if row.state == "starting" and (place is None or _is_at(row, place)))

    def is_reachable(self, host: str) -> bool:
        """Tell whether the host, as it is announced now, is not marked unreachable from here."""
        record = self.host(host)
        return record is None or self._unreachable.get(host) != record.incarnation

    def candidates(self, service: str, place: str | None = None) -> Classes:
        """Return the instances that could be called now, in classes of which each is better than the next.

        Those on hosts that are well come first, then busy and suspect hosts, then hosts unreachable from here; among
        these those that are ready before those that are degraded. `place` is a host or one instance of it (`pc2#2`).
        Raises `UnknownService` for a name never configured nor announced, `Unavailable` with the reason in words.
        """
        rows = self._view.services.get(service, ())
        if len(rows) == 1:  # most services have one instance: nothing to derive, so nothing to keep for 10^5 of them
            only = rows[0]
            if (
                only.state in USABLE_STATES and only.host in self._ranks and place is None
                and only.host != self._own_name and service not in self._own_instances
            ):
                return (rows,)
        classes = self._classes.get(service)
        if classes is None:
            classes = self._classify(service)
        if place is not None:
            classes = _at(place, classes)
        if not classes:
            raise self.refusal(service, place)
        return classes

    def groups(self, topic: str) -> Mapping[str, bool]:
        """Return the groups that hear a topic, each with whether a member takes events now or soon."""
        if not self._grouped:
            return {}
        return {group: bool(classes) or self._is_coming(group) for group, classes in self._hearing(topic).items()}

    def members(self, group: str, topic: str) -> Classes:
        """Return the instances that hear a topic in a group, in classes as `candidates` does; maybe none."""
        return self._hearing(topic).get(group, ())

    # writing

    def apply(self, epoch: int, revision: int, changes: Iterable[Any]) -> Difference:
        """Take changes in order, the last of which made `revision`; those already known are skipped.

        Returns what they changed, or a `gap` if earlier ones are missing or a new epoch began. Raises `ProtocolError`
        for a malformed change, and then has applied none.
        """
        rows = list(changes)
        if epoch < self._view.epoch or (epoch == self._view.epoch and revision <= self._view.revision):
            return Difference()
        known = self._view.revision - (revision - len(rows))
        if epoch != self._view.epoch or known < 0:
            return Difference(gap=True)
        draft = Draft(self._view)
        for row in rows[known:]:
            draft.take(row)
        return self._adopt(draft, epoch, revision)

    def replace(self, epoch: int, revision: int, snapshot: Mapping[str, Any]) -> Difference:
        """Take a whole table in place of the present one; one of an older epoch or revision changes nothing.

        Raises `ProtocolError` for a malformed one, and then has changed nothing.
        """
        if (epoch, revision) < self.position:
            return Difference()
        return self._adopt(Draft.from_snapshot(self._view, epoch, snapshot), epoch, revision)

    def set_own(self, host: HostRecord, instances: Iterable[InstanceRecord]) -> None:
        """Take the own host's rows from its supervisor; they win over what the registry says of it."""
        self._own, self._own_name, self._own_instances = host, host.name, {}
        offered = defaultdict[str, list[InstanceRecord]](list)
        for row in instances:
            offered[row.service].append(row)
        for service, rows in offered.items():
            self.set_own_service(service, rows)
        self._rank()

    def set_own_service(self, service: str, rows: Iterable[InstanceRecord]) -> None:
        """Take the own host's rows of one service anew; what it says of the others stands."""
        fresh = tuple(sorted(rows, key=lambda row: row.number))
        self._classes.pop(service, None)
        if service in self._grouped:
            self._members.clear()
        if not fresh:
            self._own_instances.pop(service, None)
            return
        self._own_instances[service] = fresh
        self._serves(service, self._own_name)
        for row in fresh:
            self._note_groups(row)

    def mark_unreachable(self, host: str, incarnation: int) -> None:
        """Choose that incarnation of a host after all others: the link from here to it is lost."""
        self._unreachable[host] = incarnation
        self._rank()

    def clear(self, host: str) -> None:
        """Forget that a host was unreachable: the link to it is up again."""
        if self._unreachable.pop(host, None) is not None:
            self._rank()

    # inside

    def _adopt(self, draft: Draft, epoch: int, revision: int) -> Difference:
        """Make the draft the present view and return how it differs from the one before."""
        self._view = view = draft.view(epoch, revision)
        difference = draft.difference(view)
        for old, new in difference.hosts:
            if new is not None:
                self._left.discard(new.name)
            elif old is not None:
                self._left.add(old.name)
        for before, after in difference.instances:
            self._remember(before, after)
        if difference.hosts:
            self._rank()
        return difference

    def _remember(self, before: InstanceRecord | None, after: InstanceRecord | None) -> None:
        """Keep who serves a name; one whose host went away still does, one that its host dropped does not."""
        if after is not None:
            self._serves(after.service, after.host)
            self._classes.pop(after.service, None)
            self._note_groups(after)
        elif before is not None:
            self._classes.pop(before.service, None)
            self._members.clear()
            host = self._view.hosts.get(before.host)
            if host is not None and host.state in LISTED_STATES:
                self._served[before.service] -= {before.host}

    def _serves(self, service: str, host: str) -> None:
        """Note that a host serves a name; the services of one host alone, which most are, share its set."""
        known = self._served.get(service)
        if not known:
            self._served[service] = self._only.setdefault(host, frozenset((host,)))
        elif host not in known:
            self._served[service] = known | {host}

    def _classify(self, service: str) -> Classes:
        """Derive the classes of a service from its rows; kept for as long as the rows stand."""
        classes = self._ranked(self.instances(service))
        if service in self._served:  # whatever strangers ask for is not worth keeping
            self._classes[service] = classes
        return classes

    def _ranked(self, rows: Iterable[InstanceRecord]) -> Classes:
        ranks, found = self._ranks, defaultdict[tuple[int, bool], list[InstanceRecord]](list)
        for row in rows:
            if row.state in USABLE_STATES and row.host in ranks:
                found[ranks[row.host], row.state == "degraded"].append(row)
        return tuple(tuple(found[rank]) for rank in sorted(found))

    def _note_groups(self, row: InstanceRecord) -> None:
        """Note a service that hears events in a group; few do, so what they hear is looked up again as they change."""
        if any(name[:1] == GROUP for name in row.traits):
            self._grouped.add(row.service)
        if self._grouped:
            self._members.clear()

    def _hearing(self, topic: str) -> dict[str, Classes]:
        """Return the members of each group that hears a topic; kept for as long as the rows stand."""
        known = self._members.get(topic)
        if known is None:
            found: dict[str, list[InstanceRecord]] = {}
            for row in self._all_grouped():
                for group in _groups_of(row, topic):
                    found.setdefault(group, []).append(row)
            if len(self._members) >= REMEMBERED:
                self._members.clear()
            known = self._members[topic] = {group: self._ranked(rows) for group, rows in found.items()}
        return known

    def _is_coming(self, group: str) -> bool:
        return any(f"{GROUP}{group}" in row.traits and row.state in COMING_STATES for row in self._all_grouped())

    def _all_grouped(self) -> Iterator[InstanceRecord]:
        for service in sorted(self._grouped):
            yield from self.instances(service)

    def _rank(self) -> None:
        """Rank the listed hosts: 0 for one that is well, 1 for a doubtful one, 2 for one out of reach from here."""
        self._classes = {}
        self._members = {}
        self._ranks = {
            name: 2 if self._unreachable.get(name) == record.incarnation else int(record.state != "ok")
            for name, record in self._view.hosts.items() if record.state in LISTED_STATES
        }
        if self._own is not None:  # calls of this host to itself need nobody's lease
            self._ranks[self._own.name] = int(self._own.state == "busy")

    def refusal(self, service: str, to_host: str | None = None) -> UnknownService | Unavailable:
        """Say why nothing of `service` can be called now."""
        if service not in self._served:
            return self._unknown(service)
        to_host, _, number = (to_host or "").partition("#")
        instances = self.instances(service)
        rows = {row.host: row for row in reversed(instances) if not number or number == str(row.number)}
        numbers = [str(row.number) for row in instances if row.host == to_host]
        if number and numbers and number not in numbers:
            there = f"has no instance {number} on {to_host}, where there are {', '.join(numbers)}"
            return Unavailable(f"{service} {there}", retry_after=RETRY_LATER)
        hosts = {to_host} if to_host else self._homes(service)
        if not hosts:
            return Unavailable(f"{service} is configured, but no host has announced it yet", retry_after=RETRY_LATER)
        reasons = [self._reason(service, host, rows.get(host)) for host in sorted(hosts)]
        return Unavailable(
            f"{service} {'; '.join(words for words, _ in reasons)}", retry_after=min(after for _, after in reasons)
        )

    def _homes(self, service: str) -> frozenset[str]:
        """Return the hosts that serve a name, did so before they went away, or are configured to."""
        return self._configured.get(service, frozenset()) | self._served[service]

    def _unknown(self, service: str) -> UnknownService:
        names: Iterable[str] = self._served
        if len(self._served) > SUGGESTED_FROM:
            head, tail = service[:3], service[-3:]
            names = [name for name in names if name.startswith(head) or name.endswith(tail)][:SUGGESTED_FROM]
        suggestion = nearest(service, names)
        hint = f"did you mean {suggestion}?" if suggestion else "`mesh agents` lists the services there are"
        return UnknownService(
            f"no host ever configured or announced a service {service}; {hint}", suggestion=suggestion
        )

    def _reason(self, service: str, name: str, row: InstanceRecord | None) -> tuple[str, float]:
        """Return in words why the instance on one host takes no calls, and after how long to try again."""
        host = self.host(name)
        if host is None:
            return self._absent(service, name)
        if host.state not in LISTED_STATES:
            why = f" ({host.reason})" if host.reason else ""
            return f"is served by {name}, which is {host.state}{self._age(host)}{why}", RETRY_LATER
        if row is None:
            if name in self._homes(service):
                return f"belongs to {name}, which is {host.state} but does not offer it now", RETRY_LATER
            well = "" if host.state == "ok" else f", which is {host.state}"
            return f"is not offered by {name}{well}", RETRY_OPERATOR
        why = f": {row.reason}" if row.reason else ""
        if row.state == "stopped" and self._view.desired.get((service, name)) == "stopped":
            return f"was stopped by an operator on {name}; `mesh agent start {service}` starts it", RETRY_OPERATOR
        if row.state in ("quarantined", "stopped"):
            return f"is {row.state} on {name}{why}; `mesh agent start {service}` starts it", RETRY_OPERATOR
        words = {"failed": "has failed", "backoff": "is in backoff"}.get(row.state, f"is {row.state}")
        return f"{words} on {name}{why}", RETRY_SOON

    def _absent(self, service: str, name: str) -> tuple[str, float]:
        if name in self._left:
            return f"is served by {name}, which has left the mesh", RETRY_LATER
        if name not in self._homes(service):
            return f"cannot be sent to {name}: the mesh has no host of this name now", RETRY_OPERATOR
        if not self._view.epoch:
            return f"is configured on {name}, of which nothing is known: the registry has not answered yet", RETRY_SOON
        return f"is configured on {name}, which is not in the mesh: it has not announced itself", RETRY_LATER

    def _age(self, host: HostRecord) -> str:
        if not host.since:
            return ""
        seconds = max(0.0, self._clock.time() - host.since)
        return f" since {seconds:.0f} s" if seconds < 120 else f" since {seconds / 60:.0f} min"


def _at(place: str, classes: Classes) -> Classes:
    """Return what of the classes is at a place: all instances of a host, or the one it names."""
    there = (tuple(row for row in rows if _is_at(row, place)) for rows in classes)
    return tuple(rows for rows in there if rows)


def _groups_of(row: InstanceRecord, topic: str) -> Iterator[str]:
    """Yield the groups in which an instance hears a topic."""
    for name, trait in row.traits.items():
        patterns = trait.get(HEARS) if name[:1] == GROUP else None
        if type(patterns) is list and any(type(one) is str and matches(one, topic) for one in patterns):
            yield name[1:]


def _is_at(row: InstanceRecord, place: str) -> bool:
    return place in (row.host, f"{row.host}#{row.number}")
