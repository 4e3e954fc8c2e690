"""`mesh call`: one request to one operation, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mesh.address import split_target
from mesh.cli.arguments import object_of, pairs_of, typed
from mesh.cli.failure import Failure
from mesh.cli.hosts import checked, names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import document, note, readable, say
from mesh.cli.wish import Wish
from mesh.errors import InvalidArgument, MeshError, UsageError
from mesh.policy.options import CallOptions
from mesh.records import split_place
from mesh.tracing import Trace

RESERVED = ("supervisor", "registry")

Outcome = dict[str, Any] | Failure


def call(
    scope: Scope, target: str, words: list[str], data: str | None, wish: Wish, sampled: bool = False
) -> int:
    """Call `service.operation` and print what it returns, or why it failed; a sampled call can be seen afterwards."""
    try:
        outcome = _outcome(scope, target, words, data, wish, sampled)
    except MeshError as error:
        outcome = Failure(error, target)
    if isinstance(outcome, Failure):
        return outcome.show(scope)
    if scope.json:
        document({"ok": True, **outcome})
    else:
        say(readable(outcome["result"]))
        if outcome["fallback"]:
            note(f"{target} failed; this is its fallback: {outcome['fallback']}")
        if sampled:
            note(f"`mesh trace {outcome['trace_id'][:12]}` shows its way")
    return 0


def checked_target(target: str) -> None:
    """Raise `UsageError` for what is no `service.operation`."""
    try:
        split_target(target)
    except InvalidArgument as error:
        raise UsageError(error.message) from None


async def arguments_for(
    operator: Operator, target: str, pairs: Mapping[str, str], data: Mapping[str, Any], place: str | None
) -> dict[str, Any]:
    """Return the arguments of a command line as the operation wants them; raises for a host that there is not."""
    to_host = None if place is None else split_place(place)[0]
    arguments = {**data, **typed(pairs, await _schema(operator, target, to_host) if pairs else None)}
    if to_host is not None:
        checked(to_host, names(operator.config, await operator.directory()))
    return arguments


def _outcome(
    scope: Scope, target: str, words: list[str], data: str | None, wish: Wish, sampled: bool
) -> Outcome:
    checked_target(target)
    return asyncio.run(_called(scope, target, pairs_of(words), object_of(data), wish.options(), sampled))


async def _called(
    scope: Scope, target: str, pairs: Mapping[str, str], data: Mapping[str, Any], options: CallOptions, sampled: bool
) -> Outcome:
    async with connected(scope) as operator:
        arguments = await arguments_for(operator, target, pairs, data, options.to_host)
        trace = Trace.new(sampled=sampled)
        reply, elapsed = await operator.timed(target, arguments, trace=trace, options=options)
    try:
        return {"result": reply.value(), "host": reply.host, "attempts": reply.attempts,
                "fallback": reply.fallback or None, "elapsed_ms": elapsed,
                "trace_id": trace.trace_id.hex()}
    except MeshError as error:
        return Failure(error, target, reply.host or None, elapsed, trace.trace_id.hex(),
                       reply.attempts)


async def _schema(operator: Operator, target: str, to_host: str | None) -> Mapping[str, Any] | None:
    """Return the schema of an operation's arguments from a host that runs it, None where nobody can tell."""
    service, operation = split_target(target)
    if service in RESERVED:
        return None
    instances = [row for row in (await operator.directory())["instances"]
                 if row["service"] == service and to_host in (None, row["host"]) and operation in row["operations"]]
    if not instances:
        return None
    try:
        told = await operator.ask("supervisor.describe", {"service": service}, host=instances[0]["host"])
    except MeshError:  # the call itself will say what is wrong, better than we could
        return None
    schemas: dict[str, Mapping[str, Any]] = {row["name"]: row["arguments"] for row in told["operations"]}
    return schemas.get(operation)
