"""`mesh errors ack`, `mute`, `unack` and `unmute`: what an operator makes of groups, on every host that has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli import hosts
from mesh.cli.hosts import names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, moment, note, say
from mesh.cli.spoken import seconds_in
from mesh.errors import MeshError, UsageError

SHORTEST = 3
MOST = 1_000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What shall become of groups: `only` those in that state, None for all; `done` is the word for people."""

    state: str
    done: str
    until: float | None = None
    only: str | None = None


ACKNOWLEDGED = Judgement("acknowledged", "acknowledged")
UNACKNOWLEDGED = Judgement("new", "new again", only="acknowledged")
UNMUTED = Judgement("new", "no longer muted", only="muted")


def muted(span: str | None) -> Judgement:
    """Return the judgement of `mute --for SPAN`; raises `UsageError`."""
    if span is None:
        return Judgement("muted", "muted")
    seconds = seconds_in(span)
    if not seconds:
        raise UsageError(f"--for is {span!r}; write 30s, 10m, 2h or 1d")
    return Judgement("muted", "muted", time.time() + seconds)


def judge(scope: Scope, wanted: Sequence[str], judgement: Judgement) -> int:
    """Do it to the groups that fingerprints, their beginnings or errors' ids mean; returns 1 if a host was not told."""
    changed, missing = asyncio.run(_judged(scope, wanted, judgement))
    for host, reason in missing.items():
        note(f"{host} was not told: {reason}")
    if scope.json:
        document(changed)
    else:
        _print(changed, judgement)
    return 1 if missing else 0


async def _judged(scope: Scope, wanted: Sequence[str], judgement: Judgement) -> tuple[list[Row], dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        everyone = names(operator.config, directory)
        answers = await operator.ask_each("supervisor.errors", everyone, {"limit": MOST})
        groups = [row for answer in answers.values() if isinstance(answer, list) for row in answer]
        fingerprints = [await _fingerprint(operator, each, groups, everyone) for each in wanted]
        fitting = {row["fingerprint"] for row in groups if judgement.only in (None, row["state"])}
        arguments = {"fingerprints": [each for each in dict.fromkeys(fingerprints) if each in fitting],
                     "state": judgement.state, "until": judgement.until}
        told = await operator.ask_each("supervisor.judge_errors", everyone, arguments)
    changed = [row for answer in told.values() if isinstance(answer, list) for row in answer]
    return changed, hosts.away(directory, told)


async def _fingerprint(operator: Operator, wanted: str, groups: Iterable[Mapping[str, Any]], everyone: list[str]
                       ) -> str:
    """Return the fingerprint that is meant; raises `UsageError` for one that fits several groups or none."""
    host, dash, number = wanted.rpartition("-")
    if dash and number.isdigit() and host in everyone:
        record = await operator.ask("supervisor.error", {"id": wanted}, host=host)
        if record is None:
            raise MeshError(f"{host} keeps no error {wanted}; `mesh errors` lists what it keeps")
        return str(record["fingerprint"])
    if len(wanted) < SHORTEST:
        raise UsageError(f"{wanted!r} is too short for a fingerprint; `mesh errors` lists them, their first "
                         f"{SHORTEST} digits suffice")
    found = sorted({str(row["fingerprint"]) for row in groups if row["fingerprint"].startswith(wanted.lower())})
    if not found:
        raise MeshError(f"no host keeps an error with the fingerprint {wanted}; `mesh errors --all` lists them")
    if len(found) > 1:
        raise UsageError(f"{wanted} is the beginning of {len(found)} fingerprints, write more of it: "
                         f"{', '.join(found[:5])}")
    return found[0]


def _print(changed: Sequence[Row], judgement: Judgement) -> None:
    if not changed:
        say(f"nothing changed: none of them is {judgement.only}" if judgement.only else "nothing changed")
    for fingerprint in dict.fromkeys(row["fingerprint"] for row in changed):
        rows = [row for row in changed if row["fingerprint"] == fingerprint]
        until = f" until {moment(judgement.until)}" if judgement.until is not None else ""
        say(clean(f"{fingerprint} is {judgement.done}{until}: {rows[0]['service']} on "
                  f"{', '.join(row['host'] for row in rows)}, {rows[0]['type']}: {rows[0]['message']}"))
