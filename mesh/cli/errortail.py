"""`mesh errors tail`: the kept errors of every host, then each as it happens; none twice, no silent gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from mesh.cli.errors import Chosen
from mesh.cli.follow import Answer, Follow, followed, run_following
from mesh.cli.hosts import hosts_of
from mesh.cli.operator import Operator
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
    story = Story()
    async with followed(scope, [interest]) as follow:
        while True:
            try:
                story.open(await hosts_of(follow.operator, chosen.host))
                await _until_lost(scope, chosen, story, follow)
            except UsageError:
                raise
            except MeshError as error:  # lost again before it began
                note(error.message)
            await follow.reconnect()


async def _until_lost(scope: Scope, chosen: Chosen, story: Story, follow: Follow) -> None:
    async with asyncio.TaskGroup() as asking:
        while True:
            for host, since in story.to_ask(time.monotonic()).items():
                asking.create_task(_ask(follow, host, since))
            try:
                async with asyncio.timeout(TURN):
                    item = await follow.queue.get()
            except TimeoutError:
                continue
            if item is None:
                break
            _print_items(scope, chosen, _told(story, item))
    _print_items(scope, chosen, story.rest())


async def _ask(follow: Follow, host: str, since: str | None) -> None:
    follow.queue.put_nowait(Answer(host, await _history(follow.operator, host, since)))


async def _history(operator: Operator, host: str, since: str | None) -> Any:
    try:
        return await operator.ask("supervisor.errors_since", {"id": since}, host=host)
    except MeshError as error:
        return error


def _told(story: Story, item: Event | Answer) -> list[Item]:
    try:
        if isinstance(item, Event):
            return story.live(record_of(item.value()))
        if isinstance(item.value, MeshError):
            note(f"{item.host} does not tell its errors: {item.value.message}")
            return story.history(item.host, None, time.monotonic())
        return story.history(item.host, [record_of(row) for row in item.value], time.monotonic())
    except MeshError as error:  # somebody published on errors.# what is no record
        note(error.message)
        return []


def _print_items(scope: Scope, chosen: Chosen, items: Sequence[Item]) -> None:
    for item in items:
        if isinstance(item, Gap):
            note(f"{item.count} errors of {item.host} after number {item.after} can no longer be had")
        elif chosen.has(item):
            _print_item(scope, item)


def _print_item(scope: Scope, record: ErrorRecord) -> None:
    if scope.json:
        line(record.event())
        return
    where = record.service + (f".{record.operation}" if record.operation else "")
    say(f"{moment(record.time)}  {state(record.severity.value)}  {coloured(f'{where}@{record.host}', 'bold')}  "
        f"{clean(f'{record.type}: {record.message}')}  [{record.id}]")
