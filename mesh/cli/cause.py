"""Why a service is as it is: from what every host says of it to sentences, and to the one that follows from them.

Nothing is asked here. A sentence is said only of a fact that some host told; what nobody could be asked is said to be
not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.address import instance_name, nearest
from mesh.cli.hosts import away
from mesh.cli.policies import breaker_words
from mesh.cli.screen import duration, moment
from mesh.config import Finding, MeshConfig
from mesh.errors import MeshError

Row = dict[str, Any]

SERVING = ("ready", "degraded")
CROWDED = 0.5
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Sentence:
    """One fact, under the word it belongs to; `bad` if it is part of the trouble."""

    topic: str
    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What follows, and what to do next; `well` if there is nothing to do."""

    text: str
    well: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a service: by config, by the hosts' answers (`MeshError` for none), by the registry.

    `operation` is the one that was asked about, if any; `findings` are those of `mesh check` about this service.
    """

    service: str
    config: MeshConfig
    operation: str | None = None
    findings: Sequence[Finding] = ()
    directory: Row = field(default_factory=lambda: {"hosts": [], "instances": []})
    answers: Mapping[str, Any] = field(default_factory=dict)
    registry: Row = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Row]:
        """The answers that are one, by host."""
        return {host: answer for host, answer in self.answers.items() if not isinstance(answer, MeshError)}

    @property
    def away(self) -> dict[str, str]:
        """The hosts that did not answer, each with the reason."""
        return away(self.directory, self.answers)

    @property
    def homes(self) -> list[str]:
        """The hosts that run the service or should, those of config first."""
        spec = self.config.agents.get(self.service)
        offering = [row["host"] for answer in self.told.values() for row in answer["instances"]]
        return list(dict.fromkeys([*(spec.hosts if spec else ()), *offering]))

    @property
    def cells(self) -> dict[str, Row]:
        """What each host says of its own cell of this service."""
        return {host: answer["cell"] for host, answer in self.told.items() if answer["cell"] is not None}

    @property
    def places(self) -> dict[str, Row]:
        """What each host says of every instance it has, by place: `pc2` for the first there, `pc2#2` for another."""
        return {instance_name(host, cell.get("instance", 1)): cell for host, answer in self.told.items()
                for cell in answer.get("cells") or filter(None, [answer["cell"]])}

    def of(self, host: str) -> dict[str, Row]:
        """Return those on one host."""
        return {place: cell for place, cell in self.places.items() if place.partition("#")[0] == host}

    @property
    def desired(self) -> dict[str, str]:
        """What operators want, by host."""
        return {host: wanted for answer in self.told.values() for host, wanted in answer["desired"].items()}

    @property
    def known(self) -> bool:
        """Tell whether the name was ever configured or announced."""
        return self.service in self.config.agents or any(answer["known"] for answer in self.told.values())


def sentences(facts: Facts) -> list[Sentence]:
    """Return every fact worth saying, in reading order."""
    if not facts.known:
        return [Sentence("owner", f"no host ever configured or announced {facts.service}", bad=True),
                *_registry(facts)]
    parts = (_owner, _config, _cells, _needs, _views, _breakers, _registry, _callers, _errors)
    return [sentence for part in parts for sentence in part(facts)]


# --- sentences


def _owner(facts: Facts) -> Iterator[Sentence]:
    spec = facts.config.agents.get(facts.service)
    if spec is None:
        yield Sentence("owner", f"announced by {_listed(facts.homes) or 'a host that has left'}, not configured here",
                       True)
    else:
        required = ", required" if spec.required else ""
        yield Sentence("owner", f"configured for {_listed(spec.hosts)}{required}, isolation {spec.isolation}"
                       if spec.hosts else "configured for no host", not spec.hosts)
    for host, wanted in facts.desired.items():
        if wanted == "stopped":
            yield Sentence("desired", f"an operator wants it stopped on {host}", True)


def _config(facts: Facts) -> Iterator[Sentence]:
    for each in facts.findings:
        if each.severity == "error":
            place = f"{each.file}:{each.line}: " if each.line else f"{each.file}: " if each.file else ""
            yield Sentence("config", f"{place}{each.message}", True)


def _cells(facts: Facts) -> Iterator[Sentence]:
    for host in facts.homes:
        if host in facts.away:
            yield Sentence(host, f"does not answer: {facts.away[host]}", True)
        elif host in facts.told and host not in facts.cells:
            yield Sentence(host, "answers, but was started without this agent", True)
        for place, cell in facts.of(host).items():
            yield from _cell(place, cell, facts.told[host]["time"])


def _cell(place: str, cell: Row, now: float) -> Iterator[Sentence]:
    reason = f": {cell['reason']}" if cell["reason"] else ""
    since = next((row["time"] for row in reversed(cell["history"]) if row["state"] == cell["state"]), None)
    age = f" for {duration(max(0.0, now - since))}" if since is not None else ""
    yield Sentence(place, f"{cell['state']}{age}{reason}", cell["state"] not in SERVING or bool(reason))
    answered = f"{_many(cell['calls'], 'call')} answered, {cell['errors']} with an error"
    yield Sentence("", f"{_restarts(cell)}; {cell['inbox']} calls in the inbox; {answered}",
                   cell["failures"] > 0 or _crowded(cell))
    for one in cell.get("goes_on", ()):
        yield Sentence("", f"{one['operation'] or 'a step'} was cancelled {duration(one['seconds'])} ago and goes on, "
                           f"in {one['place']}", True)
    steps = list(cell["history"])[-SHOWN:]
    if len(steps) > 1:
        yield Sentence("", "before: " + " → ".join(f"{moment(row['time'])} {row['state']}" for row in steps))


def _restarts(cell: Row) -> str:
    """Return how often a cell was started again, when it will be, and what is left of its budget."""
    marks = [] if cell["restart"] == "permanent" else [f"restart: {cell['restart']}"]
    marks += [f"restart group {cell['restart_group']}"] if cell["restart_group"] else []
    kind = f" ({', '.join(marks)})" if marks else ""
    soon = "" if cell["next_start_s"] is None else f", the next in {cell['next_start_s']:g} s"
    return (f"{_many(cell['restarts'], 'restart')}{kind}{soon}, {cell['failures']} of {cell['budget']} failures in the "
            f"last {_window(cell)}")


def _window(cell: Row) -> str:
    return "minute" if cell["window_s"] == 60 else f"{cell['window_s']:g} s"


def _needs(facts: Facts) -> Iterator[Sentence]:
    for host, cell in facts.cells.items():
        for one in cell["depends_on"]:
            kind = "softly" if one["soft"] else "to start"
            if one["refusal"]:
                yield Sentence("needs", f"{one['service']} {kind}: {one['refusal']}", True)
            else:
                yield Sentence("needs", f"{one['service']} {kind}: {host} reaches it on {one['goes_to']}")


def _views(facts: Facts) -> Iterator[Sentence]:
    for host, answer in facts.told.items():
        seen = ", ".join(f"{row['state']} on {_place(row)}" for row in answer["instances"]) or "not listed"
        at = f"revision {answer['revision']}"
        if answer["goes_to"] is not None:
            yield Sentence("seen by", f"{host}: {seen}; its calls go to {answer['goes_to']} ({at})")
        else:
            yield Sentence("seen by", f"{host}: {seen}; its calls fail: {answer['refusal']} ({at})", True)
        for home in facts.homes:
            link = answer["links"].get(home)
            if home != host and link is not None and link["state"] != "up":
                yield Sentence("", f"{host} has no link to {home}: {link['reason'] or link['state']}", True)


def _breakers(facts: Facts) -> Iterator[Sentence]:
    for host, row in _tripped(facts):
        yield Sentence("breaker", f"from {host}: {breaker_words(row)}", True)
    for host, answer in facts.told.items():
        budget = answer["budget"]
        if budget is not None and budget["refused"]:
            yield Sentence("retries", f"from {host}: {budget['retries']} in {budget['calls']} calls; the budget "
                                      f"refused {budget['refused']} more", budget["left"] < 1.0)


def _tripped(facts: Facts) -> list[tuple[str, Row]]:
    """Return the breakers that are not closed, each with the host whose it is."""
    return [(host, row) for host, answer in facts.told.items() for row in answer["breakers"]
            if row["state"] != "closed" and row["operation"] in (None, facts.operation or row["operation"])]


def _place(row: Row) -> str:
    """Return the host of an instance, and its number there if it is not the first."""
    return str(row["host"]) if row.get("number", 1) == 1 else f"{row['host']}#{row['number']}"


def _registry(facts: Facts) -> Iterator[Sentence]:
    row = facts.registry
    if not row:
        return
    if row["state"] == "unreachable":
        yield Sentence("registry", f"cannot be reached ({row['reason']}): hosts go by what they knew at revision "
                                   f"{row['revision']}", True)
        return
    ages = {each["name"]: each["lease_age_s"] for each in row.get("hosts", ())}
    leases = [f"lease of {host} renewed {ages[host]:.1f} s ago" for host in facts.homes if host in ages]
    yield Sentence("registry", ", ".join([f"{row['state']}, revision {row['revision']}", *leases]),
                   row["state"] != "ok")


def _callers(facts: Facts) -> Iterator[Sentence]:
    rows = [row for answer in facts.told.values() for row in answer["callers"]
            if facts.operation in (None, row["operation"])]
    rows.sort(key=lambda row: (-row["errors"], -row["calls"]))
    for row in rows[:SHOWN]:
        failed = f", {row['errors']} failed (last: {row['last_error']})" if row["errors"] else ""
        yield Sentence("called by", f"{row['caller']}@{row['host']}: {row['operation']} {_many(row['calls'], 'time')}"
                                    f"{failed}", bool(row["errors"]))


def _errors(facts: Facts) -> Iterator[Sentence]:
    rows = [row for answer in facts.told.values() for row in answer["errors"]]
    for row in sorted(rows, key=lambda row: -row["last_seen"])[:3]:
        yield Sentence("error", f"{moment(row['last_seen'])} {row['message']} ({_many(row['count'], 'time')}; "
                                f"mesh errors show {row['sample_id']})")


# --- what follows


def conclude(facts: Facts) -> Conclusion:
    """Return the one sentence that follows, from the gravest cause to none."""
    service = facts.service
    if not facts.known:
        return _unknown(facts)
    if not facts.told:
        return Conclusion(f"no host of the mesh answers, so nobody can call {service}; start it: mesh up")
    causes = {place: cause for host in facts.homes for place in facts.of(host) or [host]
              if (cause := _cause(facts, host, place)) is not None}
    serving = [place for host in facts.homes for place, cell in facts.of(host).items() if cell["state"] in SERVING]
    if not facts.homes:
        return Conclusion(f"{service} is for no host; name one under hosts: in config/agents/{service}.yaml")
    if not serving:
        return Conclusion("; ".join(causes.values()))
    return _reached(facts, serving, causes)


def _unknown(facts: Facts) -> Conclusion:
    names = {*facts.config.agents, *(row["service"] for row in facts.directory["instances"])}
    like = nearest(facts.service, names)
    return Conclusion(f"there is no service {facts.service}; " + (
        f"did you mean {like}? (mesh why {like})" if like else "mesh agents lists those there are"))


def _cause(facts: Facts, host: str, place: str) -> str | None:
    """Return why an instance takes no calls and what to do about it, None if it does."""
    service, cell = facts.service, facts.places.get(place)
    if host in facts.away:
        return _host_cause(facts, host)
    if host not in facts.told:
        return f"{host} is not known to this mesh; add it to config/hosts.yaml"
    if cell is None:
        return (f"{host} was started before {service} was configured for it; restart {host}: mesh down --host {host}, "
                f"then mesh up --host {host}")
    state, last, wish = cell["state"], cell["last_error"], instance_name(service, cell.get("instance", 1))
    if state in SERVING:
        return None
    if state == "stopped" and facts.desired.get(host) == "stopped":
        return f"an operator stopped {service} on {host}; mesh agent start {service} starts it"
    if state == "stopped" and facts.desired.get(place) == "stopped":
        return f"an operator stopped {service} on {place}; mesh agent start {wish} starts it"
    if state == "quarantined":
        return (f"{service} on {place} failed too often and stays down ({last or cell['reason']}); mend that, then "
                f"mesh agent start {wish}")
    if state in ("failed", "backoff"):
        return f"{service} on {place} crashes and is started again by itself ({last or cell['reason']}); mend that"
    if state == "starting":
        return _start_cause(service, place, cell)
    if state == "draining":
        return f"{service} on {place} is stopping ({cell['reason']})"
    why = cell["reason"] or "no reason told"
    return f"{service} on {place} is {state} ({why}); mesh agent start {wish} starts it"


def _host_cause(facts: Facts, host: str) -> str:
    listed = {row["name"]: row for row in facts.directory["hosts"]}.get(host)
    if listed is None:
        return f"{host}, where {facts.service} runs, is not running; start it there: mesh up --host {host}"
    if listed["state"] == "ok":
        return f"{host}, where {facts.service} runs, cannot be reached ({facts.away[host]}); mesh doctor tells the way"
    reason = listed["reason"] or "no reason told"
    return (f"{host}, where {facts.service} runs, is {listed['state']} ({reason}); is the machine on, "
            f"the process alive? mesh up --host {host} starts it")


def _start_cause(service: str, place: str, cell: Row) -> str:
    if cell["waits_for"]:
        waited = cell["waits_for"]
        return f"{service} on {place} waits for {_listed(waited)} to start; mesh why {waited[0]} tells what holds it up"
    return f"{service} on {place} is just starting; ask again in a moment"


def _reached(facts: Facts, serving: Sequence[str], causes: Mapping[str, str]) -> Conclusion:
    """Conclude about a service that at least one instance serves; `serving` and `causes` are by place."""
    service = facts.service
    cut = [host for host, answer in facts.told.items() if answer["goes_to"] is None]
    if cut:
        reason = facts.told[cut[0]]["refusal"]
        return Conclusion(f"{service} serves on {_listed(serving)}, but {_listed(cut)} cannot call it ({reason}); "
                          "mesh doctor tells the way")
    if facts.operation is not None and not any(
        facts.operation in facts.places[place]["operations"] for place in serving
    ):
        return _no_operation(facts, serving)
    tripped = _tripped(facts)
    if tripped:
        host, row = tripped[0]
        return Conclusion(f"{service} serves on {_listed(serving)}, but {host} does not call it: {breaker_words(row)}; "
                          f"mend what failed (mesh errors --service {service})")
    if causes:
        return Conclusion(f"{service} is served by {_listed(serving)} alone: " + "; ".join(causes.values()))
    for place in serving:
        cell = facts.places[place]
        if cell["state"] == "degraded":
            lost = next((one["service"] for one in cell["depends_on"] if one["refusal"]), None)
            return Conclusion(f"{service} answers on {place} with less than it could: {cell['reason']}"
                              + (f"; mesh why {lost} tells more" if lost else ""))
        if _crowded(cell):
            return Conclusion(f"{service} on {place} answers more slowly than it is asked: {cell['inbox']} calls wait; "
                              "mesh top shows who calls, limits: concurrency lets it do more at a time")
        if cell.get("goes_on"):
            first = cell["goes_on"][0]
            return Conclusion(f"{service} on {place} answers, but {first['operation'] or 'a step'} does not end, "
                              f"although it was cancelled: see {first['place']}; in a process of its own "
                              f"(mesh agent isolate {service} process) a restart ends it")
        if cell["failures"]:
            return Conclusion(f"{service} on {place} is up again after {_many(cell['failures'], 'failure')} in the "
                              f"last {_window(cell)} (last: {cell['last_error']})")
    if facts.registry.get("state") == "unreachable":
        return Conclusion(f"{service} can be called; the registry is away, so hosts that come or go are not seen: "
                          f"start it (mesh up --host {facts.config.registry.host})")
    return Conclusion(f"{service} is well: {_listed(list(facts.told))} can call it on {_listed(serving)}", well=True)


def _no_operation(facts: Facts, serving: Sequence[str]) -> Conclusion:
    names = facts.places[serving[0]]["operations"]
    like = nearest(facts.operation or "", names)
    hint = f"did you mean {like}?" if like else f"it has {', '.join(names) or 'none'}"
    return Conclusion(f"{facts.service} is well, but has no operation {facts.operation}; {hint}")


def _crowded(cell: Row) -> bool:
    return bool(cell["inbox"] > max(2, cell["concurrency"] * CROWDED))


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
