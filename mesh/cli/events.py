"""`mesh publish` and `mesh events tail`: say something on a topic, hear what is said."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from mesh.cli.arguments import json_of
from mesh.cli.follow import Follow, followed, run_following
from mesh.cli.hosts import names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import coloured, document, line, note, readable, say
from mesh.errors import InvalidArgument, MeshError, UsageError
from mesh.message import Event
from mesh.topics import check_pattern, check_topic


def publish(scope: Scope, topic: str, data: str | None) -> None:
    """Publish one event through the connected host."""
    try:
        check_topic(topic)
    except InvalidArgument as error:
        raise UsageError(error.message) from None
    payload = None if data is None else json_of(data)
    host = asyncio.run(_published(scope, topic, payload))
    if scope.json:
        document({"ok": True, "topic": topic, "host": host})
    else:
        say(f"published on {topic} by {host}")


async def _published(scope: Scope, topic: str, payload: Any) -> str:
    async with connected(scope) as operator:
        await operator.ask("supervisor.publish_event", {"topic": topic, "data": payload})
        return operator.host


def tail(scope: Scope, pattern: str) -> None:
    """Print each event whose topic matches, until Ctrl-C."""
    try:
        check_pattern(pattern)
    except InvalidArgument as error:
        raise UsageError(error.message) from None
    run_following(scope, _followed(scope, pattern))


async def _followed(scope: Scope, pattern: str) -> None:
    async with followed(scope, [pattern]) as follow:
        while True:
            try:
                await _listening(follow.operator, pattern)
            except MeshError as error:  # lost again already: what came so far is shown first
                note(error.message)
            await _heard(scope, follow)
            await follow.reconnect()


async def _listening(operator: Operator, pattern: str) -> None:
    """Say that what is published from now on will be seen, once that is so."""
    directory = await operator.directory()
    # A host hears of a new pattern on the link that carries this question, ahead of it.
    answers = await operator.ask_each("supervisor.directory", names(operator.config, directory))
    deaf = [host for host, answer in answers.items() if isinstance(answer, MeshError)]
    note(f"listening to {pattern} through {operator.host}" + (f"; not there: {', '.join(deaf)}" if deaf else ""))


async def _heard(scope: Scope, follow: Follow) -> None:
    """Print events until the connection is lost."""
    while (event := await follow.queue.get()) is not None:
        if not isinstance(event, Event):
            continue
        if scope.json:
            line(_row(event))
        else:
            at = datetime.fromtimestamp(event.time).strftime("%H:%M:%S.%f")[:-3]
            say(f"{at}  {coloured(event.topic, 'bold')}  {event.origin}  {_payload(event)}")


def _row(event: Event) -> dict[str, Any]:
    trace_id = None if event.trace is None else event.trace.trace_id.hex()
    return {"topic": event.topic, "time": event.time, "origin": event.origin, "data": _value(event),
            "trace_id": trace_id}


def _payload(event: Event) -> str:
    return " ".join(readable(_value(event)).split())


def _value(event: Event) -> Any:
    try:
        return event.value()
    except MeshError as error:
        return f"<{error.message}>"
