"""`mesh down`: drain and stop the hosts of the mesh, or one of them; returns when they are gone.

What a launcher of this project keeps is left to it: it drains its hosts and ends even one that hears nothing. Other
hosts (on another machine, or started without a launcher) are told over the mesh.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from mesh.address import is_own
from mesh.cli.hosts import checked
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import document, say
from mesh.config import MeshConfig
from mesh.errors import DeadlineExceeded, MeshError, MeshUnreachable
from mesh.launcher.claim import Running, ask_to_leave, running, tell_launcher
from mesh.launcher.unlisted import unlisted

PATIENCE = 3.0
LIMIT = 30.0
STEP = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """Something that shall end: a host or a launcher, what it is called in a message, and whether it is gone."""

    host: str
    label: str
    gone: Callable[[], bool]


def down(scope: Scope, host: str | None) -> None:
    """Stop every host, or `host` alone; says so when nothing runs."""
    config = scope.config()
    if host is not None:
        checked(host, list(config.hosts))
    stopped, ended = asyncio.run(_stop(scope, config, host))
    if scope.json:
        document({"stopped": stopped, "launchers": [launcher.pid for launcher in ended]})
    elif stopped:
        say(f"stopped: {', '.join(stopped)}")
    else:
        say("nothing is running" if host is None else f"{host} is not running")


async def _stop(scope: Scope, config: MeshConfig, host: str | None) -> tuple[list[str], list[Running]]:
    """Have hosts stop and wait until they have; returns them, and the launchers that ended with them."""
    until = time.monotonic() + (scope.timeout or LIMIT)
    launchers = [one for one in running(config.home) if host is None or host in one.hosts]
    kept = [name for one in launchers for name in one.hosts if host in (None, name)]
    others: list[Target] = []
    deaf: dict[str, MeshError] = {}
    if host is None or not kept:
        try:
            others, deaf = await _order(scope, host, kept)
        except MeshUnreachable:
            others = _unlisted(config, host, kept)
            if not kept and not others and _anything_listens(config, host):
                raise  # something is there and will not talk to us
    ending = [one for one in launchers if {*one.hosts} <= {*kept}]
    for launcher in launchers:
        if host is None:
            tell_launcher(launcher, signal.SIGTERM)
        else:
            ask_to_leave(config.home, launcher, host)
    await _wait([*_kept(config.home, launchers, kept), *map(_itself, ending)], until, {})
    await _wait(others, min(until, time.monotonic() + PATIENCE) if deaf else until, deaf)
    return sorted([*kept, *(one.host for one in others)]), ending


async def _order(scope: Scope, host: str | None, kept: Sequence[str]) -> tuple[list[Target], dict[str, MeshError]]:
    """Tell the hosts that are not `kept` here to stop, the one we talk to last; returns them, and who did not take it.
    """
    async with connected(scope) as operator:
        rows = [row for row in (await operator.directory())["hosts"]
                if row["state"] != "dead" and host in (None, row["name"]) and row["name"] not in kept]
        found = [_elsewhere(row["name"], row["address"], row["port"], row["pid"] if is_own(row["address"]) else None)
                 for row in rows]
        targets = [one for one in found if not one.gone()]  # a directory may lag behind a host that has just ended
        names = [one.host for one in targets]
        answers = await operator.ask_each("supervisor.shutdown", [name for name in names if name != operator.host],
                                          limit=PATIENCE)
        if operator.host in names:
            answers |= await operator.ask_each("supervisor.shutdown", [operator.host], limit=PATIENCE)
    return targets, {name: answer for name, answer in answers.items() if isinstance(answer, MeshError)}


def _unlisted(config: MeshConfig, host: str | None, kept: Sequence[str]) -> list[Target]:
    """Tell hosts to stop that run here, but whose keys and launcher are unknown since `.mesh` was deleted."""
    found = {name: process for name, process in unlisted(config.root, config.home).items()
             if host in (None, name) and name not in kept}
    for process in found.values():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    return [_elsewhere(name, "", 0, process.pid) for name, process in found.items()]


def _kept(home: Path, launchers: Sequence[Running], hosts: Sequence[str]) -> list[Target]:
    """Return the hosts that launchers keep; one is gone when no launcher holds it any more."""
    pids = {name: pid for one in launchers for name, pid in one.children.items()}
    return [Target(host, f"{host} (pid {pids[host]})" if host in pids else host, partial(_given_up, home, host))
            for host in hosts]


def _given_up(home: Path, host: str) -> bool:
    return not any(host in one.hosts for one in running(home))


def _itself(launcher: Running) -> Target:
    return Target("", f"`mesh up` (pid {launcher.pid})", lambda: not _lives(launcher.pid))


def _elsewhere(host: str, address: str, port: int, pid: int | None) -> Target:
    """Return a host without a launcher here; from another machine it shows by its port alone that it is gone."""
    if pid:
        return Target(host, f"{host} (pid {pid})", lambda: not _lives(pid))
    return Target(host, f"{host} at {address}", lambda: not _listens(address, port))


async def _wait(targets: Sequence[Target], until: float, deaf: dict[str, MeshError]) -> None:
    """Return when all are gone; raises what a host answered that did not take the order, else `DeadlineExceeded`."""
    while left := [one for one in targets if not one.gone()]:
        if time.monotonic() > until:
            for one in left:
                if one.host in deaf:
                    raise deaf[one.host]
            raise DeadlineExceeded(f"{' and '.join(one.label for one in left)} did not stop in time; look with "
                                   "`mesh status`, wait longer with --timeout, or end the process")
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
