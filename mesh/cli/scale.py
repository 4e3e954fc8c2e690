"""`mesh agent scale SERVICE N`: how many instances of one agent run; waits until they are up and every host knows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from mesh.cli.hosts import checked, homes, names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, note, say
from mesh.cli.spread import spread
from mesh.errors import MeshError, UsageError
from mesh.records import USABLE_STATES

LOOK = 0.2
ANSWER = 5.0
RESERVED = 3.0
"""Seconds of the command's time left to see that every host knows."""
SETTLED_STATES = USABLE_STATES | {"stopped", "quarantined", "failed", "backoff"}

Row = dict[str, Any]


def scale(scope: Scope, service: str, count: int, host: str | None) -> int:
    """Have so many instances of a service on each of its hosts, or on one; returns 1 if not all of them came up."""
    if count == 0:
        raise UsageError(f"an agent has one instance at least; `mesh agent stop {service}` stops it")
    began = time.monotonic()
    outcome, unaware = asyncio.run(_scaled(scope, service, count, host, began))
    outcome = {"ok": _reached(outcome), "service": service, "instances": outcome["instances"],
               "rolled_back": outcome["rolled_back"], "hosts": outcome["hosts"],
               "seconds": round(time.monotonic() - began, 3)}
    if scope.json:
        document(outcome)
    else:
        _print(outcome)
    if unaware:
        note(f"warning: {' and '.join(unaware)} did not hear of it yet: is the registry well? see `mesh status`")
    return 0 if outcome["ok"] else 1


async def _scaled(scope: Scope, service: str, count: int, host: str | None, began: float
                  ) -> tuple[Row, list[str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        found = homes(operator.config, directory, service)
        if host is not None:
            checked(host, names(operator.config, directory))
        well = {row["name"] for row in directory["hosts"] if row["state"] == "ok"}
        asked = next((name for name in found if name in well), found[0])
        outcome: Row = await operator.ask("supervisor.agent_scale",
                                          {"service": service, "instances": count, "host": host}, host=asked)
        silent = [row for row in outcome["hosts"] if row["how"] == "later" and row["reason"] and row["host"] in well]
        left = None if scope.timeout is None else max(0.0, began + scope.timeout - RESERVED - time.monotonic())
        await asyncio.gather(*(_outwait(operator, row, outcome["instances"][row["host"]], left) for row in silent))
        unaware = [name for row in outcome["hosts"] if row["how"] != "later"
                   for name in await spread(operator, service, row["host"])]
    return outcome, list(dict.fromkeys(unaware))


async def _outwait(operator: Operator, row: Row, count: int, seconds: float | None) -> None:
    """Wait until a host that is well, and was too slow to say so, has its instances up or has shown that it has not.

    An agent may take longer to start than hosts wait for each other's answer. The row of the outcome then says `live`,
    with what is not up as its reason.
    """
    found: list[Row] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (len(found) == count and all(one["state"] in SETTLED_STATES for one in found)):
                with contextlib.suppress(MeshError):
                    agents = await operator.ask("supervisor.agents", host=row["host"], limit=ANSWER)
                    found = [one for one in agents if one["service"] == row["service"]]
                await asyncio.sleep(LOOK)
    down = [f"instance {one['instance']} is {one['state']}{_because(one)}" for one in found
            if one["state"] not in USABLE_STATES]
    if len(found) != count:
        down.append(f"it has {len(found)} of {count}")
    row.update(how="live", reason="; ".join(down))


def _because(row: Row) -> str:
    return f": {row['reason']}" if row["reason"] else ""


def _reached(outcome: Row) -> bool:
    """Tell whether all hosts that are there have what was asked for."""
    return bool(outcome["ok"]) and not any(row["reason"] for row in outcome["hosts"] if row["how"] != "later")


def _print(outcome: Row) -> None:
    counts = [f"{count} instance{'' if count == 1 else 's'} on {host}" if at == 0 else f"{count} on {host}"
              for at, (host, count) in enumerate(outcome["instances"].items())]
    if outcome["rolled_back"]:
        say(clean(f"{outcome['service']} goes on as it was"))
    else:
        say(clean(f"{outcome['service']} has {', '.join(counts)} ({outcome['seconds']:.1f} s)"))
    for row in outcome["hosts"]:
        if row["reason"]:
            say(clean(f"  {row['host']}: {row['reason']}"))
