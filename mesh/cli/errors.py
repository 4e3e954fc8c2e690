"""`mesh errors` and `mesh errors show`: what went wrong, where, and what was done about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli import hosts
from mesh.cli.hosts import checked, did_you_mean, names
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, moment, note, say, state
from mesh.cli.spans import path_in
from mesh.cli.table import Column, table
from mesh.errorbus import ErrorRecord, Severity
from mesh.errors import MeshError, UsageError

PATIENCE = 2.0

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which errors to show: of a service, of a host, of at least a severity, None for all; `muted` ones as well."""

    service: str | None = None
    host: str | None = None
    severity: str | None = None
    muted: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a severity that is none."""
        if self.severity is not None and self.severity not in tuple(Severity):
            raise UsageError(f"--severity is {self.severity!r}, which is none of {', '.join(Severity)}"
                             f"{did_you_mean(self.severity, Severity)}")

    def has(self, record: ErrorRecord) -> bool:
        """Tell whether a record is to be shown."""
        least = 0 if self.severity is None else Severity(self.severity).rank
        return (self.service in (None, record.service) and self.host in (None, record.host)
                and record.severity.rank >= least and (self.muted or not record.muted))


def groups(scope: Scope, chosen: Chosen, limit: int) -> None:
    """Print the groups of every host, the latest first."""
    chosen.check()
    found, missing = asyncio.run(_grouped(scope, chosen, limit))
    for host, reason in missing.items():
        note(f"the errors of {host} are not shown: {reason}")
    if scope.json:
        document(found)
    else:
        _print_groups(found)


async def _grouped(scope: Scope, chosen: Chosen, limit: int) -> tuple[list[Row], dict[str, str]]:
    arguments = {"service": chosen.service, "severity": chosen.severity, "limit": limit, "muted": chosen.muted}
    async with connected(scope) as operator:
        directory = await operator.directory()
        asked = hosts.chosen(operator.config, directory, chosen.host)
        answers = await operator.ask_each("supervisor.errors", asked, arguments, limit=PATIENCE)
    found = [row for answer in answers.values() if isinstance(answer, list) for row in answer]
    return sorted(found, key=lambda row: -row["last_seen"])[:limit], hosts.away(directory, answers)


def _print_groups(found: list[Row]) -> None:
    if not found:
        say("no errors")
        return
    columns = [Column("last seen"), Column("count", True), Column("severity"), Column("service"), Column("host"),
               Column("sample", False, 1), Column("first seen", False, 3), Column("state", False, 4),
               Column("fingerprint", False, 5)]
    rows = [[moment(row["last_seen"]), row["count"], row["severity"], row["service"], row["host"], row["sample_id"],
             moment(row["first_seen"]), row["state"], row["fingerprint"]] for row in found]
    table(columns, rows, {at: f"{row['type']}: {row['message']}" for at, row in enumerate(found)})
    say(f"mesh errors show {found[0]['sample_id']} tells more of the first")


def show(scope: Scope, error_id: str) -> None:
    """Print one error with traceback, trace and what the supervisor did about it."""
    host, dash, number = error_id.rpartition("-")
    if not dash or not number.isdigit():
        raise UsageError(f"{error_id!r} is no error id; ids look like pc2-000123, `mesh errors` lists them as sample")
    record, path = asyncio.run(_fetched(scope, host, error_id))
    if scope.json:
        document({**record, "path": path})
    else:
        _print_record(record, path)


async def _fetched(scope: Scope, host: str, error_id: str) -> tuple[Row, list[str]]:
    async with connected(scope) as operator:
        everyone = names(operator.config, await operator.directory())
        record = await operator.ask("supervisor.error", {"id": error_id}, host=checked(host, everyone))
        if record is None:
            raise MeshError(f"{host} keeps no error {error_id}; a host keeps its last 1,000, `mesh errors` lists them")
        return record, await path_in(operator, record["trace_id"], everyone) if record["trace_id"] else []


def _print_record(record: Row, path: Sequence[str]) -> None:
    where = record["service"] + (f".{record['operation']}" if record["operation"] else "")
    say(f"{state(record['severity'])} {record['id']}  {moment(record['time'])}  {where} on {record['host']}")
    say(clean(f"{record['type']}: {record['message']}"))
    say(clean(f"done about it: {record['decision'] or 'nothing'}"))
    for key, value in record["context"].items():
        say(clean(f"{key}: {value}"))
    if record["trace_id"]:
        say(f"trace {record['trace_id']}" + (f": {' → '.join(path)}" if path else ""))
    if record["traceback"]:
        say(clean(record["traceback"].rstrip()))
