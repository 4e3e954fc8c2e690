"""`mesh errors tail`: the kept errors of every host, then each as it happens; none twice, no silent gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from mesh.cli import hosts
from mesh.cli.errors import Chosen
from mesh.cli.follow import Answer, Follow, followed, run_following
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, line, moment, note, say, state
from mesh.cli.story import Item, Story
from mesh.errorbus import ErrorRecord, Gap, record_of
from mesh.errors import MeshError, UsageError
from mesh.message import Event

TURN = 0.5


def tail(scope: Scope, chosen: Chosen) -> None:
    """Print the kept errors, then each as it happens, until Ctrl-C."""
    chosen.check()
    run_following(scope, _tailed(scope, chosen))


async def _tailed(scope: Scope, chosen: Chosen) -> None:
    interest = "errors.#" if chosen.host is None else f"errors.*.{chosen.host}.#"
    async with followed(scope, [interest]) as follow:
        shown = ErrorTail(chosen, as_json=scope.json)
        while True:
            try:
                await shown.until_lost(follow)
            except UsageError:
                raise
            except MeshError as error:  # lost again before it began
                note(error.message)
            await follow.reconnect()


class ErrorTail:
    """Shows what a `Story` lets pass of the errors that were chosen, over one connection after the other."""

    def __init__(self, chosen: Chosen, *, as_json: bool) -> None:
        self._chosen = chosen
        self._json = as_json
        self._story = Story()
        self._silent: set[str] = set()
        self._shown = 0
        self._said = False

    async def until_lost(self, follow: Follow) -> None:
        """Show what comes until the connection is lost."""
        directory = await follow.operator.directory()
        self._story.open(hosts.chosen(follow.operator.config, directory, self._chosen.host))
        async with asyncio.TaskGroup() as asking:
            while True:
                for host, since in self._story.to_ask(time.monotonic()).items():
                    asking.create_task(_ask(follow, host, since))
                try:
                    async with asyncio.timeout(TURN):
                        item = await follow.queue.get()
                except TimeoutError:
                    continue  # a host that did not answer may be due again
                if item is None:
                    break
                self._print(self._told(item))
                self._say_once(follow.operator.host)
        self._print(self._story.rest())

    def _say_once(self, host: str) -> None:
        """Say that the history is over, since silence may be all that follows."""
        if self._story.opened and not self._said:
            self._said = True
            note(f"{'no errors' if not self._shown else 'these are the errors'} so far; new ones come here as they "
                 f"happen, through {host}, until Ctrl-C")

    def _told(self, item: Event | Answer) -> list[Item]:
        try:
            if isinstance(item, Event):
                return self._story.live(record_of(item.value()))
            records = None if isinstance(item.value, MeshError) else [record_of(row) for row in item.value]
        except MeshError as error:  # somebody published on errors.# what is no record
            note(error.message)
            return []
        if records is None and item.host not in self._silent:
            note(f"{item.host} does not tell its errors, it is asked again until it does: {item.value.message}")
            self._silent.add(item.host)
        elif records is not None:
            self._silent.discard(item.host)
        return self._story.history(item.host, records, time.monotonic())

    def _print(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Gap):
                note(f"{item.count} errors of {item.host} after number {item.after} can no longer be had")
            elif self._chosen.has(item):
                self._print_record(item)

    def _print_record(self, record: ErrorRecord) -> None:
        self._shown += 1
        if self._json:
            line(record.event())
            return
        where = record.service + (f".{record.operation}" if record.operation else "")
        say(f"{moment(record.time)}  {state(record.severity.value)}  {coloured(f'{where}@{record.host}', 'bold')}  "
            f"{clean(f'{record.type}: {record.message}')}  [{record.id}]")


async def _ask(follow: Follow, host: str, since: str | None) -> None:
    """Put a host's answer, or the error in its place, where the events come."""
    answer: Any
    try:
        answer = await follow.operator.ask("supervisor.errors_since", {"id": since}, host=host)
    except MeshError as error:
        answer = error
    follow.queue.put_nowait(Answer(host, answer))
