"""`mesh stream`: the items of one operation, each printed as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from mesh.cli.arguments import object_of, pairs_of
from mesh.cli.call import arguments_for, checked_target
from mesh.cli.failure import Failure
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import line, readable, say
from mesh.cli.wish import Wish
from mesh.errors import MeshError
from mesh.policy.options import CallOptions
from mesh.tracing import Trace


def stream(
    scope: Scope, target: str, words: list[str], data: str | None, wish: Wish, sampled: bool
) -> int:
    """Print the items of `service.operation` and return the exit code; leaving it has the callee stop."""
    try:
        checked_target(target)
        failure = asyncio.run(_printed(scope, target, pairs_of(words), object_of(data), wish.options(), sampled))
    except MeshError as error:
        failure = Failure(error, target)
    if failure is None:
        return 0
    if not scope.json:
        raise failure.error
    line(failure.told())
    return failure.error.exit_code


async def _printed(
    scope: Scope, target: str, pairs: Mapping[str, str], data: Mapping[str, Any], options: CallOptions, sampled: bool
) -> Failure | None:
    """Print items until the end; returns what ended them before it."""
    trace = Trace.new(sampled=sampled)
    async with connected(scope) as operator:
        arguments = await arguments_for(operator, target, pairs, data, options.to_host)
        began = time.monotonic()
        count = 0
        items = operator.stream(target, arguments, scope.timeout, trace=trace, options=options)
        try:
            async with aclosing(items):
                async for item in items:
                    count += 1
                    if scope.json:
                        line({"item": item})
                    else:
                        say(readable(item))
        except MeshError as error:
            return Failure(error, target, items.host or None, _elapsed(began), trace.trace_id.hex())
    if scope.json:
        line({"ok": True, "items": count, "host": items.host, "elapsed_ms": _elapsed(began),
              "trace_id": trace.trace_id.hex()})
    return None


def _elapsed(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
