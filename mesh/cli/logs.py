"""`mesh logs`: the logs of all hosts in one stream, in order of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mesh.cli import hosts
from mesh.cli.follow import run_following
from mesh.cli.hosts import chosen, did_you_mean
from mesh.cli.logline import Printer
from mesh.cli.logmerge import Merge
from mesh.cli.operator import Operator
from mesh.cli.scope import Scope
from mesh.cli.screen import note
from mesh.cli.spoken import seconds_in
from mesh.errors import MeshError, MeshUnreachable, UsageError
from mesh.supervisor.showing.logbook import LEVELS, LogBook, Wanted

PATIENCE = 3.0
PAUSE = 0.3
HOLD = 2.0
TOLD_SKEW = 1.0

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to show: of a host, and of what is `wanted` at most the last `limit` lines, unless all since a moment."""

    host: str | None
    wanted: Wanted
    limit: int
    follow: bool


def logs(
    scope: Scope, *, follow: bool, service: str | None, host: str | None, trace: str | None, level: str | None,
    since: str | None, limit: int,
) -> int:
    """Print the lines there are and, with `follow`, each as it is written; returns 1 if a host's could not be had."""
    if level is not None and level not in LEVELS:
        raise UsageError(f"--level is {level!r}, which is none of {', '.join(LEVELS)}{did_you_mean(level, LEVELS)}")
    moment_since = None if since is None else since_of(since, time.time())
    what = Chosen(host, Wanted(service, None if trace is None else trace.lower(), level, moment_since), limit, follow)
    reading = Reading(scope, what)
    if follow:
        run_following(scope, reading.follow())
        return 0
    asyncio.run(reading.once())
    return 1 if reading.silent else 0


def since_of(text: str, now: float) -> float:
    """Return the moment that `10m`, `2h`, `14:30` or an ISO time means; raises `UsageError`."""
    seconds = seconds_in(text)
    if seconds is not None:
        return now - seconds
    today = datetime.fromtimestamp(now).date().isoformat()
    for candidate in (text, f"{today}T{text}"):
        try:
            return datetime.fromisoformat(candidate).timestamp()
        except ValueError:
            continue
    raise UsageError(f"--since is {text!r}; write 30s, 10m, 2h, 1d, 14:30 or 2026-05-01T14:30")


@dataclass(slots=True)
class _Place:
    """How far one host has been read, when that reading began, and what was said if the host does not answer."""

    cursor: dict[str, Any] | None = None
    began: float = 0.0
    told: str | None = None


class Reading:
    """Asks every host for its lines, again and again, and prints them in order."""

    def __init__(self, scope: Scope, what: Chosen) -> None:
        self._what = what
        self._config = scope.config()
        self._printer = Printer(self._config, as_json=scope.json)
        self._merge = Merge()
        self._places: dict[str, _Place] = {}
        self._directory: Row = {"hosts": [], "instances": []}
        self._operator = Operator(self._config, timeout=None, on_lost=self._lost)
        self._connected = False
        self._skewed: set[str] = set()

    @property
    def silent(self) -> bool:
        """Whether a host did not answer."""
        return any(place.told is not None for place in self._places.values())

    async def once(self) -> None:
        """Print what there is: the last lines, or all since the moment asked for."""
        try:
            await self._connect()
            await asyncio.gather(*(self._read(host) for host in self._hosts()))
        finally:
            self._operator.close()
        self._show(self._merge.release(), first=True)

    async def follow(self) -> None:
        """Print what there is, then what comes, until cancelled."""
        try:
            await self._connect()
            await asyncio.gather(*(self._read(host) for host in self._hosts()))
            self._show(self._merge.release(self._known_until()), first=True)
            async with asyncio.TaskGroup() as readers:
                readers.create_task(self._keep_connected())
                for host in self._hosts():
                    readers.create_task(self._keep_reading(host))
                while True:
                    await asyncio.sleep(PAUSE)
                    self._show(self._merge.release(self._known_until()))
        finally:
            self._operator.close()
            self._show(self._merge.release())

    # -- asking

    async def _connect(self) -> None:
        """Be connected to a host; where none answers, what this machine has on its disk is read instead."""
        try:
            await self._operator.connect()
            self._directory = await self._operator.directory()
            self._connected = True
        except MeshError as error:
            if not self._places and not any(self._folder(host).is_dir() for host in self._config.hosts):
                raise
            for host in self._hosts():
                self._tell(host, f"no host of the mesh answers ({error.message.splitlines()[0]})")

    def _lost(self, reason: str) -> None:
        self._connected = False

    def _hosts(self) -> list[str]:
        return chosen(self._config, self._directory, self._what.host)

    async def _keep_connected(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            if not self._connected:
                await self._connect()

    async def _keep_reading(self, host: str) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            await self._read(host)

    def _known_until(self) -> float:
        """Return the moment before which every host that answers has told all; one that hangs holds up nobody."""
        now = time.time()
        return min([place.began for place in self._places.values() if now - place.began < HOLD], default=now - HOLD)

    async def _read(self, host: str) -> None:
        """Take all that a host has to tell, from itself or from this machine's disk."""
        place = self._places.setdefault(host, _Place())
        began, more = time.time(), True
        while more:
            asked = time.time()
            try:
                page = await self._page(host, place)
            except MeshError as error:
                self._tell(host, hosts.away(self._directory, {host: error})[host])
                if not self._folder(host).is_dir():
                    return
                page = await asyncio.to_thread(self._from_disk, host, place)
            else:
                self._answers(host)
            for name in page["lost"]:
                note(f"lines of {name}.log of {host} were rotated away before they could be read")
            place.cursor, more = page["cursor"], page["more"]
            self._merge.take(host, page["lines"], now=page["now"], asked=asked, answered=time.time())
            self._tell_skew(host)
        place.began = began

    async def _page(self, host: str, place: _Place) -> Row:
        if not self._connected:
            raise MeshUnreachable("no host of the mesh answers")
        arguments: Row = asdict(self._what.wanted)
        page: Row = await self._operator.ask(
            "supervisor.logs", {**arguments, "cursor": self._cursor(place), **self._limit(place)}, host=host,
            limit=PATIENCE,
        )
        return page

    def _from_disk(self, host: str, place: _Place) -> Row:
        book, cursor = LogBook(self._folder(host)), self._cursor(place)
        wanted = self._what.wanted
        page = book.latest(wanted, self._what.limit) if cursor is None else book.after(cursor, wanted)
        return {**asdict(page), "now": time.time()}

    def _cursor(self, place: _Place) -> dict[str, Any] | None:
        return {} if place.cursor is None and self._what.wanted.since is not None else place.cursor

    def _limit(self, place: _Place) -> Row:
        return {"limit": self._what.limit} if self._cursor(place) is None else {}

    def _folder(self, host: str) -> Path:
        return self._config.home / host / "logs"

    # -- telling

    def _tell(self, host: str, reason: str) -> None:
        """Say once that a host does not answer, and what is shown of it all the same."""
        place = self._places.setdefault(host, _Place())
        if place.told is None:
            place.told = reason
            instead = "; what is on this machine's disk of them is shown" if self._folder(host).is_dir() else ""
            note(f"{host} does not tell its logs: {reason}{instead}")

    def _answers(self, host: str) -> None:
        place = self._places[host]
        if place.told is not None:
            place.told = None
            note(f"{host} tells its logs again")

    def _tell_skew(self, host: str) -> None:
        ahead = self._merge.ahead[host]
        if abs(ahead) >= TOLD_SKEW and host not in self._skewed:
            self._skewed.add(host)
            note(f"the clock of {host} is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}; its lines stand "
                 "where they belong, with the time they were given")

    def _show(self, lines: list[tuple[str, Mapping[str, Any]]], *, first: bool = False) -> None:
        if first and self._what.wanted.since is None:
            lines = lines[-self._what.limit:]
        for host, told in lines:
            self._printer(host, told)
