"""Who used the event loop and who held it: the ledger behind `mesh blame`.

Used is every second an agent's steps took, stolen is what one of them took over the limit in one go. It is told the
time; whoever owns it marks it every few seconds, so that it knows of the last minute too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.address import split_instance
from mesh.metrics import Sample, counter
from mesh.policy.resolve import SUPERVISOR
from mesh.supervisor.loop.hold import LIMIT, Hold, Kind, Place

HOLDS = counter("mesh_loop_holds_total", "How often an agent held the event loop; `mesh blame` says where.", "service")
STOLEN = counter("mesh_loop_stolen_seconds_total", "How long an agent held the event loop over what it may at a time.",
                 "service")

MARK_SECONDS = 5.0
TOLD_EACH = 60.0
"""How often a place is put on the error bus at most."""
MINUTE = 60.0
MOST_PLACES = 100
SHOWN = 5


@dataclass(slots=True)
class Tally:
    """How often and for how long the loop was held at one place; all in seconds."""

    place: Place
    kind: Kind
    count: int = 0
    total: float = 0.0
    worst: float = 0.0

    def told(self, hold: Hold, whose: str, advice: str) -> str:
        """Return a hold in words: of whose loop, which time that was, and what helps."""
        return (f"{who(hold.place)} held the event loop of {whose} for {hold.seconds:.2f} s: "
                f"{hold.kind} in {hold.place} ({self.count} so far, {self.total:.2f} s in all); {advice}")

    def row(self) -> dict[str, Any]:
        """Return it for `mesh blame`."""
        place = self.place
        return {"operation": place.operation, "function": place.function, "file": place.file, "line": place.line,
                "inside": place.inside, "kind": self.kind.value, "count": self.count,
                "total_ms": _ms(self.total), "worst_ms": _ms(self.worst)}


@dataclass(slots=True)
class _Account:
    stolen: float = 0.0
    holds: int = 0
    places: dict[str, Tally] = field(default_factory=dict)


class User(NamedTuple):
    """One agent at this moment, an instance as `nlu#2`: where it runs, and the seconds its steps have taken so far."""

    service: str
    isolation: str
    used: float


class _Mark(NamedTuple):
    at: float
    used: Mapping[str, float]
    stolen: Mapping[str, float]


class Blame:
    """The accounts of one host since `now`, when it is made."""

    def __init__(self, host: str, now: float) -> None:
        self._host = host
        self._began = now
        self._accounts: dict[str, _Account] = {}
        self._marks: deque[_Mark] = deque([_Mark(now, {}, {})])

    def samples(self) -> Iterator[Sample]:
        """Yield how often and how long each one held the loop that ever did."""
        for name, account in self._accounts.items():
            service, number = split_instance(name)
            yield HOLDS.sample(account.holds, service).of_instance(number or 1)
            yield STOLEN.sample(account.stolen, service).of_instance(number or 1)

    def note(self, hold: Hold) -> Tally:
        """Count a hold that is over and return what there is of its place."""
        account = self._accounts.setdefault(hold.place.service, _Account())
        account.holds += 1
        account.stolen += hold.seconds - LIMIT
        if hold.place.key not in account.places and len(account.places) >= MOST_PLACES:
            del account.places[min(account.places, key=lambda key: account.places[key].total)]
        tally = account.places.setdefault(hold.place.key, Tally(hold.place, hold.kind))
        tally.count += 1
        tally.total += hold.seconds
        if hold.seconds >= tally.worst:
            tally.worst, tally.place, tally.kind = hold.seconds, hold.place, hold.kind
        return tally

    def mark(self, now: float, users: Iterable[User]) -> None:
        """Remember how things stand, and forget what is older than a minute."""
        self._marks.append(_Mark(now, {user.service: user.used for user in users}, self._stolen()))
        while len(self._marks) > 1 and now - self._marks[1].at >= MINUTE:
            self._marks.popleft()

    def rows(self, now: float, users: Iterable[User]) -> list[dict[str, Any]]:
        """Return a row for each agent, and one for the mesh's own code if it held the loop; the worst first."""
        listed = list(users)
        known = {user.service for user in listed}
        listed += [User(service, "coroutine", 0.0) for service in self._accounts if service not in known]
        rows = [self._row(user, now) for user in listed]
        return sorted(rows, key=lambda row: (-row["stolen_ms"], -row["used_ms"], row["service"], row["instance"]))

    def window(self, now: float) -> dict[str, float]:
        """Return how many seconds the figures are of: since the start, and of the last minute."""
        return {"window_s": round(now - self._began, 1), "minute_s": round(now - self._marks[0].at, 1)}

    def _row(self, user: User, now: float) -> dict[str, Any]:
        account = self._accounts.get(user.service, _Account())
        mark = self._marks[0]
        minute = user.used - mark.used.get(user.service, 0.0)
        places = sorted(account.places.values(), key=lambda tally: -tally.total)[:SHOWN]
        service, number = split_instance(user.service)
        return {
            "service": service, "host": self._host, "instance": number or 1, "isolation": user.isolation,
            "used_ms": _ms(user.used), "share": _share(user.used, now - self._began),
            "used_1m_ms": _ms(minute), "share_1m": _share(minute, now - mark.at),
            "stolen_ms": _ms(account.stolen), "stolen_1m_ms": _ms(account.stolen - mark.stolen.get(user.service, 0.0)),
            "holds": account.holds, "places": [tally.row() for tally in places],
        }

    def _stolen(self) -> dict[str, float]:
        return {service: account.stolen for service, account in self._accounts.items()}


def who(place: Place) -> str:
    """Return whose code a place is in, with the operation."""
    name = "the mesh itself" if place.service == SUPERVISOR else place.service
    return f"{name} ({place.operation})" if place.operation else name


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole > 0 else 0.0
