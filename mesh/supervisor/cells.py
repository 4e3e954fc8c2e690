"""All cells of a host: started by their dependencies, stopped in the reverse order, held to what the operator wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from mesh.config import AgentSpec, MeshConfig, Policies, apply_overrides, waves
from mesh.directory import Directory
from mesh.errors import ConfigError
from mesh.metrics import Sample
from mesh.policy.rules import RuleBook
from mesh.records import USABLE_STATES, InstanceRecord
from mesh.supervisor.adjusting.adjustments import Adjustments
from mesh.supervisor.bell import Bell
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import House

WAIT = 3600.0


class Cells:
    """The cells of one host by service.

    `spawn` gives a coroutine a task with an owner, `inventory_changed` is told when what the host offers has changed.
    """

    def __init__(
        self, config: MeshConfig, host: str, directory: Directory, rules: RuleBook, bell: Bell,
        spawn: Callable[[Coroutine[Any, Any, None]], None], inventory_changed: Callable[[], None],
    ) -> None:
        self.by_service: dict[str, Cell] = {}
        self._config = config
        self._host = host
        self._directory = directory
        self.rules = rules
        self._bell = bell
        self._spawn = spawn
        self._inventory_changed = inventory_changed
        self._looking = False
        self._house: House | None = None
        self.adjustments = Adjustments(self.by_service, self.in_force,
                                       self.wanted,
                                       lambda: directory.position, spawn)

    def create(self, house: House) -> None:
        """Make a cell for every agent of this host; none runs yet."""
        self._house = house
        self.by_service.update({service: Cell(spec, house) for service, spec in self._config.on(self._host).items()})

    def take(self, config: MeshConfig) -> None:
        """Let what the agent files say now count; `add` and `remove` bring the cells in line with it."""
        self._config = self._config.model_copy(update={"agents": config.agents})
        self.rules.forget()

    def add(self, service: str) -> Cell:
        """Make and start the cell of an agent that is new on this host."""
        assert self._house is not None
        cell = self.by_service[service] = Cell(self.filed(service), self._house)
        cell.resize(self._possible(service))
        if self._desired(service) == "running":
            cell.launch()
        else:
            cell.rest("stopped by an operator")
        return cell

    async def remove(self, service: str) -> None:
        """Stop an agent that does not belong to this host any more, and let go of it."""
        await self.by_service[service].stop("it is not configured here any more")
        del self.by_service[service]
        self._inventory_changed()

    def launch(self) -> None:
        """Start every cell that an operator has not stopped, with the settings in force."""
        for service, cell in self.by_service.items():
            cell.resize(self._possible(service))
            if self._desired(service) == "running":
                cell.launch()
            else:
                cell.rest("stopped by an operator")

    async def settled(self) -> None:
        """Return when every cell has come up, or has shown that it does not."""
        await asyncio.gather(*(cell.settled.wait() for cell in self.by_service.values()))

    async def stop(self) -> None:
        """Drain and stop all, those first that others do not depend on."""
        for wave in reversed(waves(self._config, self._host)):
            await asyncio.gather(*(self.by_service[service].stop("the host stops") for service in wave
                                   if service in self.by_service))

    def inventory(self) -> list[InstanceRecord]:
        """Return the rows of this host's cells for the registry."""
        return [
            InstanceRecord(cell.service, self._host, cell.incarnation, cell.state.value, cell.lifecycle.reason,
                           tuple(sorted(cell.offer.operations)), version=cell.offer.version, traits=cell.offer.traits)
            for cell in self.by_service.values()
        ]

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every cell."""
        for cell in self.by_service.values():
            yield from cell.samples()

    def summary(self) -> dict[str, Any]:
        """Return how many are ready, and which are not and why."""
        rows = [(cell.service, cell.state.value, _why(cell)) for cell in self.by_service.values()]
        return {
            "ready": sum(state == "ready" for _, state, _ in rows), "total": len(rows),
            "degraded": [{"service": service, "reason": why} for service, state, why in rows if state == "degraded"],
            "failed": [{"service": service, "state": state, "reason": why} for service, state, why in rows
                       if state not in ("ready", "degraded")],
        }

    # -- dependencies

    def missing(self, spec: AgentSpec) -> str | None:
        """Say which soft dependency of an agent is configured somewhere and away, None if there is none."""
        away = [_placed(service, hosts) for service, hosts in self._away(spec)]
        return f"waiting for {', '.join(away)}" if away else None

    def awaited(self) -> list[str]:
        """Return what running cells miss and what may still come."""
        return sorted({_placed(service, hosts) for cell in self.by_service.values() if cell.state.serving
                       for service, hosts in self._away(cell.spec) if self._may_come(service, hosts)})

    def _away(self, spec: AgentSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
        for dependency in spec.depends_on:
            configured = self._config.agents.get(dependency.service)
            if configured is not None and configured.hosts and not any(
                row.state in USABLE_STATES for row in self._directory.instances(dependency.service)
            ):
                yield dependency.service, configured.hosts

    def _may_come(self, service: str, hosts: Sequence[str]) -> bool:
        """Tell whether a service may start yet: neither given up, nor stopped by an operator, on one of its hosts."""
        states = {row.host: row.state for row in self._directory.instances(service)}
        return any(states.get(host) != "quarantined" and self._desired(service, host) == "running"
                   for host in hosts)

    async def dependencies_ready(self, spec: AgentSpec) -> None:
        """Wait until the services an agent cannot start without are ready on this host."""
        needed = [self.by_service[one.service] for one in spec.depends_on
                  if not one.soft and one.service in self.by_service]
        while waits := [cell.service for cell in needed if not cell.state.serving]:
            cell = self.by_service[spec.service]
            if cell.lifecycle.explain(f"waiting for {', '.join(waits)}"):
                cell.settled.set()
                self._inventory_changed()
            await self._bell.wait(WAIT)

    def look_soon(self) -> None:
        """Have the cells look at their dependencies again, once for all that happens in this turn of the loop."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """Have every cell say anew whether it misses somebody."""
        self._looking = False
        for cell in self.by_service.values():
            cell.reconsider()

    # -- what operators want

    def obey(self, service: str) -> None:
        """Follow what an operator wants of a service, as the registry tells it."""
        cell = self.by_service.get(service)
        if cell is None:
            return
        if self._desired(service) == "stopped" and cell.state not in ("stopped", "draining"):
            self._spawn(cell.stop("stopped by an operator"))
        elif self._desired(service) == "running" and cell.state in ("stopped", "draining"):
            cell.launch(by_operator=True)

    def reset(self, service: str) -> None:
        """Bring a service to its configuration in force, which may have changed."""
        self.rules.forget(service)
        self.adjustments.follow(service)

    def wanted(self, service: str) -> bool:
        """Tell whether an operator wants a service to run here; one who has said nothing does."""
        return self._desired(service) == "running"

    def _desired(self, service: str, host: str | None = None) -> str:
        return self._directory.view.desired.get((service, host or self._host), "running")

    def filed(self, service: str) -> AgentSpec:
        """Return what files and environment say of a service, without what operators changed."""
        return self._config.agents[service]

    def in_force(self, service: str) -> AgentSpec:
        """Return the configuration of a service as operators changed it; raises `ConfigError` if it cannot be."""
        overrides = self.overrides(service)
        return apply_overrides(self.filed(service), overrides) if overrides else self.filed(service)

    def policies(self, service: str) -> Policies | None:
        """Return what stands around calls of a service, wherever it runs; None for one this host has no file of."""
        if service not in self._config.agents:
            return None
        try:
            return self.in_force(service).policies
        except ConfigError:  # which its own host reports
            return self.filed(service).policies

    @property
    def mesh_wide(self) -> Mapping[str, str]:
        """Where what `hosts.yaml` says came from, by key."""
        return self._config.origin

    def origins(self, service: str) -> Mapping[str, str]:
        """Return where what is in force of a service came from, by key; nothing for one this host has no file of."""
        if service not in self._config.agents:
            return {}
        try:
            return self.in_force(service).origin
        except ConfigError:
            return self.filed(service).origin

    def overrides(self, service: str) -> Mapping[str, Any]:
        """Return what operators changed of a service, as the registry tells it."""
        return self._directory.view.overrides.get(service, {})

    def _possible(self, service: str) -> AgentSpec:
        """Return the configuration in force; what files say, if what operators changed cannot be."""
        try:
            return self.in_force(service)
        except ConfigError as error:
            self.by_service[service].say(f"what operators changed of it is left out: {error}")
            return self.filed(service)


def _placed(service: str, hosts: Sequence[str]) -> str:
    return f"{service}@{','.join(hosts)}"


def _why(cell: Cell) -> str:
    """Return why a cell is as it is; one that is being started again is so because of its last error."""
    return cell.last_error if cell.state == "starting" and cell.last_error else cell.lifecycle.reason
