"""`mesh agent start|stop|drain|restart|isolate`: the life of one agent on one host; waits until every host knows.

`nlu` is all its instances there, `nlu#2` one of them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from mesh.address import instance_name, split_instance
from mesh.cli.hosts import checked, homes, names
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, note, say, state
from mesh.cli.spread import spread
from mesh.errors import UsageError

Verb = Literal["start", "stop", "drain", "restart", "isolate"]

WELL = ("ready", "degraded")
WANTED = {"start": WELL, "restart": WELL, "isolate": WELL, "stop": ("stopped",), "drain": ("stopped",)}


def act(scope: Scope, verb: Verb, service: str, host: str | None, **arguments: str | float) -> int:
    """Start, stop, drain, restart or isolate one agent; returns 1 if it did not come to be what was asked."""
    outcome = asyncio.run(_acted(scope, verb, service, host, arguments))
    reached = outcome["state"] in WANTED[verb]
    if scope.json:
        document({"ok": reached, **outcome})
    else:
        reason = f": {outcome['reason']}" if outcome["reason"] and outcome["state"] != "stopped" else ""
        several = len(outcome["instances"]) > 1
        process = "" if several else f" (pid {outcome['pid']})" if verb == "isolate" else ""
        where = f", as a {outcome['isolation']}{process}" if verb == "isolate" else ""
        say(clean(f"{service} on {outcome['host']} is ") + state(outcome["state"]) + clean(where + reason))
        for row in outcome["instances"] if several else ():
            why = f": {row['reason']}" if row["reason"] and row["state"] != "stopped" else ""
            say(clean(f"  {instance_name(service, row['instance'])} is ") + state(row["state"]) + clean(why))
    if outcome["warning"]:
        note(f"warning: {outcome['warning']}")
    return 0 if reached else 1


async def _acted(
    scope: Scope, verb: Verb, service: str, host: str | None, arguments: dict[str, str | float]
) -> dict[str, Any]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        whole, _ = split_instance(service)
        found = homes(operator.config, directory, whole)
        if host is not None:
            found = [checked(host, names(operator.config, directory))]
        elif len(found) > 1:
            raise UsageError(f"{service} runs on {' and '.join(found)}; say which one with --host")
        outcome: dict[str, Any] = await operator.ask(f"supervisor.agent_{verb}", {"service": service, **arguments},
                                                      host=found[0])
        unaware = await spread(operator, whole, outcome["host"])
    if unaware and outcome["warning"] is None:
        outcome["warning"] = f"{' and '.join(unaware)} did not hear of it yet: is the registry well? see `mesh status`"
    return outcome
