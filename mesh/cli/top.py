"""`mesh top`: hosts, busiest agents, slowest operations and latest errors, live in the terminal."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mesh.cli.follow import run_following
from mesh.cli.hosts import away, chosen
from mesh.cli.keyboard import keys
from mesh.cli.operator import Operator
from mesh.cli.rates import Reading, rates
from mesh.cli.scope import Scope
from mesh.cli.screen import document, line, note, say
from mesh.cli.table import width
from mesh.cli.topscreen import Shown, ansi, no_ink, page
from mesh.errors import MeshError, MeshUnreachable, UsageError

PATIENCE = 1.0
LEAST_INTERVAL = 0.2
WINDOW = 60.0
KEYS = "q quits"

Row = dict[str, Any]


def top(scope: Scope, host: str | None, interval: float, once: bool) -> None:
    """Show the mesh until `q` or Ctrl-C; off a terminal, or `once`, print one page of it."""
    if interval < LEAST_INTERVAL:
        raise UsageError(f"--interval is {interval:g}; give {LEAST_INTERVAL:g} seconds or more")
    if once or not (scope.json or sys.stdout.isatty()):
        asyncio.run(_once(scope, host, interval))
    else:
        run_following(scope, _documents(scope, host, interval) if scope.json else _live(scope, host, interval))


class Observer:
    """Takes readings of the mesh through one connection after the other, and keeps those of the last minute."""

    def __init__(self, scope: Scope, host: str | None) -> None:
        self.config = scope.config()
        self.readings: deque[Reading] = deque()
        self.trouble: str | None = None
        self._host = host
        self._lost = asyncio.Event()
        self._operator = Operator(self.config, timeout=None, on_lost=self._gone)

    async def connect(self) -> None:
        """Connect to whichever host answers; raises `MeshUnreachable`."""
        await self._operator.connect()
        self._lost.clear()
        self.trouble = None

    def close(self) -> None:
        """Hang up."""
        self._operator.close()

    async def look(self) -> bool:
        """Take one more reading, over a new connection if the last is lost; tell whether there is one."""
        try:
            if self._lost.is_set():
                await self.connect()
            reading = await self._read()
        except UsageError:
            raise
        except MeshUnreachable as error:
            self.trouble = f"no host answers, what is shown is old: {error.message.splitlines()[0]}"
            return False
        except MeshError as error:
            self.trouble = f"what is shown is old: {error.message}"
            return False
        self.trouble = None
        self.readings.append(reading)
        while len(self.readings) > 2 and self.readings[1].time <= reading.time - WINDOW:
            self.readings.popleft()
        return True

    def told(self) -> Row:
        """Return the document of the last reading."""
        now = self.readings[-1]
        earlier = len(self.readings) > 1
        return rates(self.readings[0] if earlier else None, self.readings[-2] if earlier else None, now)

    @property
    def window(self) -> float | None:
        """The seconds between the readings that latencies are taken from, None where they are of all calls."""
        return self.readings[-1].time - self.readings[0].time if len(self.readings) > 1 else None

    async def _read(self) -> Reading:
        operator = self._operator
        directory = await operator.ask("supervisor.directory", limit=PATIENCE)
        asked = chosen(self.config, directory, self._host)
        answers = await operator.ask_each("supervisor.top", asked, limit=PATIENCE)
        return Reading(
            time.time(), operator.host, directory["registry"],
            {row["name"]: row["state"] for row in directory["hosts"]},
            {host: answer for host, answer in answers.items() if isinstance(answer, dict)}, away(directory, answers),
        )

    def _gone(self, reason: str) -> None:
        self._lost.set()


@asynccontextmanager
async def _observer(scope: Scope, host: str | None) -> AsyncIterator[Observer]:
    """Give an observer that has taken its first reading; raises `MeshUnreachable` if nobody answers."""
    observer = Observer(scope, host)
    try:
        await observer.connect()
        if not await observer.look():
            raise MeshError(observer.trouble or "nothing could be read")
        yield observer
    finally:
        observer.close()


async def _once(scope: Scope, host: str | None, interval: float) -> None:
    """Print one page, of two readings; latencies are those of all calls so far."""
    async with _observer(scope, host) as observer:
        await asyncio.sleep(interval)
        await observer.look()
        now, before = observer.readings[-1], observer.readings[0]
        told = rates(None, before if before is not now else None, now)
        if scope.json:
            document(told)
            return
        for text in page(told, Shown(observer.config.mesh, observer.trouble), width=width(), height=None, ink=no_ink):
            say(text)


async def _documents(scope: Scope, host: str | None, interval: float) -> None:
    """Print a document for each interval."""
    async with _observer(scope, host) as observer:
        while True:
            await asyncio.sleep(interval)
            if await observer.look():
                line(observer.told())
            else:
                note(observer.trouble or "nothing could be read")


async def _live(scope: Scope, host: str | None, interval: float) -> None:
    """Show the mesh on the whole terminal until `q`."""
    console = Console(highlight=False)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with _observer(scope, host) as observer:
        loop.add_signal_handler(signal.SIGTERM, ended.set)  # the terminal is to be left clean then, too
        try:
            with keys(lambda key: ended.set() if key in "qQ" else None), \
                    Live(console=console, screen=True, auto_refresh=False) as live:
                while not ended.is_set():
                    live.update(drawn(observer, console.width, console.height), refresh=True)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(interval):
                            await ended.wait()
                    if not ended.is_set():
                        await _looked(observer, ended)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)


async def _looked(observer: Observer, ended: asyncio.Event) -> None:
    """Take a reading, but leave at once when the user wants to."""
    looking, leaving = asyncio.ensure_future(observer.look()), asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({looking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
    finally:
        for task in (looking, leaving):
            task.cancel()
        await asyncio.gather(looking, leaving, return_exceptions=True)


def drawn(observer: Observer, columns: int, rows: int) -> Text:
    """Return the screen as rich takes it."""
    shown = Shown(observer.config.mesh, observer.trouble, observer.window, KEYS)
    text = page(observer.told(), shown, width=columns, height=rows, ink=ansi)
    return Text("\n", no_wrap=True, overflow="crop").join(Text.from_ansi(each, no_wrap=True) for each in text)
