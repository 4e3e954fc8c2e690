"""Gathers the facts that `mesh doctor` judges: from the files, this machine's ports, and every host that answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mesh.address import endpoint, is_own
from mesh.agent.engine import EngineConfig, obstacle
from mesh.agent.settings import read_settings
from mesh.cli.check import everything
from mesh.cli.diagnosis import Case
from mesh.cli.hosts import names
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.config import HostConfig, MeshConfig
from mesh.errors import ConfigError, LoadError, MeshError, StartError
from mesh.launcher.claim import running
from mesh.port import ensure_free, listener
from mesh.supervisor.cell.loader import load_agent_class
from mesh.supervisor.showing.machine import installation, machine
from mesh.supervisor.showing.reach import DIAL_LIMIT, dial

PATIENCE = 2.0
REACH_PATIENCE = 4.0

Row = dict[str, Any]


def examine(scope: Scope) -> Case:
    """Return the facts; whatever cannot be had is missing in them, and no error."""
    case = Case(findings=everything(scope.root(), scope.environment), here=installation(), now=time.time())
    try:
        config = scope.config()
    except ConfigError:
        return case
    own = [host.name for host in config.hosts.values() if is_own(host.address)]
    case = replace(case, config=config, own=own, machines={name: machine(config, name) for name in own},
                   engines=list(_engines(config)))
    return asyncio.run(_ask(scope, config, case))


async def _ask(scope: Scope, config: MeshConfig, case: Case) -> Case:
    """Add what the hosts say; where none answers, what plain connects from here find."""
    try:
        async with connected(scope) as operator:
            directory = await operator.directory()
            everyone = names(config, directory)
            reach, *quick = await asyncio.gather(
                operator.ask_each("supervisor.reach", everyone, limit=REACH_PATIENCE),
                *(operator.ask_each(f"supervisor.{what}", everyone, limit=PATIENCE)
                  for what in ("status", "machine", "agents", "errors")),
            )
    except MeshError as error:
        others = [host for host in config.hosts.values() if host.name not in case.own]
        return replace(case, silence=error.message, ports=list(_ports(config, case.own, set())),
                       dialled=await _dialled(config, others, DIAL_LIMIT if scope.timeout is None
                                              else min(DIAL_LIMIT, scope.timeout)))
    statuses, told, agents, errors = quick
    pids = {int(answer["pid"]) for answer in statuses.values() if isinstance(answer, dict)}
    return replace(case, directory=directory, statuses=statuses, told=told, agents=agents, errors=errors, reach=reach,
                   ports=list(_ports(config, case.own, pids)))


async def _dialled(config: MeshConfig, others: Iterable[HostConfig], limit: float) -> list[Row]:
    targets = [(host, "host", host.port) for host in others]
    targets += [(host, "registry", config.registry.port) for host, _, _ in targets if host.name == config.registry.host]
    found = await asyncio.gather(*(dial(host.address, port, limit) for host, _, port in targets))
    return [{"host": host.name, "endpoint": endpoint(host.address, port), "port": port, "role": role,
             "dialled": outcome} for (host, role, port), outcome in zip(targets, found, strict=True)]


# --- ports


def _ports(config: MeshConfig, own: Iterable[str], pids: set[int]) -> Iterator[Row]:
    """Yield each port of this machine's hosts: free, ours, or the trouble in words; `pids` are the mesh's."""
    for launcher in running(config.home):
        pids |= set(launcher.children.values())
    for name in own:
        host = config.hosts[name]
        yield _port(host, host.port, "calls", f"`hosts: {name}: port:`", pids)
        yield _port(host, host.events_port, "events", f"`hosts: {name}: events_port:`", pids)
        yield _port(host, host.metrics_port, "metrics", f"`hosts: {name}: metrics_port:`", pids)
        if config.registry.host == name:
            yield _port(host, config.registry.port, "registry", "`registry: port:`", pids)
            yield _port(host, config.registry.metrics_port, "registry metrics", "`registry: metrics_port:`", pids)


def _port(host: HostConfig, port: int, role: str, setting: str, pids: set[int]) -> Row:
    row = {"host": host.name, "port": port, "role": role, "state": "free", "trouble": ""}
    try:
        ensure_free(host.address, port, f"host {host.name}", setting)
    except StartError as error:
        pid = listener(host.address, port)
        if pid in pids or (pid is None and pids):  # the system tells only root whose it is
            return {**row, "state": "ours"}
        return {**row, "state": "taken", "trouble": error.message}
    return row


# --- engines


def _engines(config: MeshConfig) -> Iterator[tuple[str, str]]:
    """Yield each agent whose configured engine lacks something, with what that is."""
    for service, spec in config.agents.items():
        with contextlib.suppress(LoadError, ConfigError), contextlib.redirect_stdout(sys.stderr):
            settings = read_settings(load_agent_class(spec), service, spec.settings)
            for value in vars(settings).values():
                if isinstance(value, EngineConfig) and (missing := obstacle(value)):
                    yield service, missing
