"""`mesh down`: drain and stop the hosts of the mesh, or one of them; returns when they are gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from mesh.cli.candidates import is_own
from mesh.cli.hosts import checked
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import document, say
from mesh.config import MeshConfig
from mesh.errors import DeadlineExceeded, MeshError, MeshUnreachable
from mesh.supervisor.claim import Running, running

PATIENCE = 3.0
LIMIT = 30.0
STEP = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """A host to stop: where it listens, and its process if it runs on this machine."""

    host: str
    address: str
    port: int
    pid: int | None

    def __str__(self) -> str:
        return f"{self.host} (pid {self.pid})" if self.pid else f"{self.host} at {self.address}"

    def gone(self) -> bool:
        """Tell whether the host is no more; from another machine that shows by its port alone."""
        return not _lives(self.pid) if self.pid else not _listens(self.address, self.port)


def down(scope: Scope, host: str | None) -> None:
    """Stop every host, or `host` alone; says so when nothing runs."""
    config = scope.config()
    if host is not None:
        checked(host, list(config.hosts))
    stopped, launcher = asyncio.run(_stop(scope, config, host))
    if scope.json:
        document({"stopped": stopped, "launcher": None if launcher is None else launcher.pid})
    elif stopped or launcher:
        say(f"stopped: {', '.join(stopped) or 'the launcher'}")
    else:
        say("nothing is running" if host is None else f"{host} is not running")


async def _stop(scope: Scope, config: MeshConfig, host: str | None) -> tuple[list[str], Running | None]:
    """Have hosts stop and wait until they have; returns them, and the launcher if it ended with them."""
    until = time.monotonic() + (scope.timeout or LIMIT)
    launcher = running(config.home)
    kept = launcher.hosts if launcher is not None and host is None else ()
    try:
        targets, deaf = await _order(scope, host, kept)
    except MeshUnreachable:
        if not kept and _anything_listens(config, host):
            raise  # something is there and will not talk to us
        targets, deaf = [], {}
    if launcher is not None and kept:
        with suppress(ProcessLookupError):
            os.kill(launcher.pid, signal.SIGTERM)
    if deaf:
        until = min(until, time.monotonic() + PATIENCE)
    await _wait(targets, until, deaf)
    names = [one.host for one in targets]
    if launcher is None or not {*launcher.hosts} <= {*names, *kept}:
        return names, None
    await _wait([Target("the launcher", "", 0, launcher.pid)], until, {})
    return names or list(launcher.hosts), launcher


async def _order(scope: Scope, host: str | None, kept: Sequence[str]) -> tuple[list[Target], dict[str, MeshError]]:
    """Tell the hosts to stop, the one we talk to last; returns them, and who did not take it.

    Those that the launcher keeps are left to it: it drains them as well, and ends even one that hears nothing.
    """
    async with connected(scope) as operator:
        rows = [row for row in (await operator.directory())["hosts"]
                if row["state"] != "dead" and host in (None, row["name"])]
        names = [row["name"] for row in rows if row["name"] not in kept]
        answers = await operator.ask_each("supervisor.shutdown", [name for name in names if name != operator.host],
                                          limit=PATIENCE)
        if operator.host in names:
            answers |= await operator.ask_each("supervisor.shutdown", [operator.host], limit=PATIENCE)
    targets = [Target(row["name"], row["address"], row["port"], row["pid"] if is_own(row["address"]) else None)
               for row in rows]
    return targets, {name: answer for name, answer in answers.items() if isinstance(answer, MeshError)}


async def _wait(targets: Sequence[Target], until: float, deaf: dict[str, MeshError]) -> None:
    """Return when all are gone; raises what a host answered that did not take the order, else `DeadlineExceeded`."""
    while left := [one for one in targets if not one.gone()]:
        if time.monotonic() > until:
            for one in left:
                if one.host in deaf:
                    raise deaf[one.host]
            raise DeadlineExceeded(f"{' and '.join(map(str, left))} did not stop in time; look with `mesh status`, "
                                   "wait longer with --timeout, or end the process")
        await asyncio.sleep(STEP)


def _anything_listens(config: MeshConfig, host: str | None) -> bool:
    return any(_listens(each.address, each.port) for each in config.hosts.values() if host in (None, each.name))


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
