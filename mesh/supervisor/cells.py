"""All cells of a host: started by their dependencies, stopped in the reverse order, held to what the operator wants.

The instances of a service share its configuration, its folder and what it saved; each has its own life: budget,
incarnation, inbox and figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from mesh.address import split_instance, split_version
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
from mesh.supervisor.roster import Roster
from mesh.supervisor.stopped import Stopped

WAIT = 3600.0


class Cells:
    """The cells of one host, on its `roster`.

    `spawn` gives a coroutine a task with an owner, `inventory_changed` is told of a service of which the host offers
    something else now,
    and `gone` of each cell that was let go of.
    """

    def __init__(
        self, config: MeshConfig, host: str, directory: Directory, rules: RuleBook, bell: Bell,
        spawn: Callable[[Coroutine[Any, Any, None]], None], inventory_changed: Callable[[str], None],
        gone: Callable[[Cell], None] = lambda cell: None,
    ) -> None:
        self.roster = Roster()
        self.stopped = Stopped()
        self._config = config
        self._host = host
        self._directory = directory
        self.rules = rules
        self._bell = bell
        self._spawn = spawn
        self._inventory_changed = inventory_changed
        self._gone = gone
        self._looking = False
        self._house: House | None = None
        self.adjustments = Adjustments(self.roster, self.in_force, self._wanted, self.scale,
                                       lambda: directory.position, spawn)

    def create(self, house: House) -> None:
        """Make a cell for every instance on this host; none runs yet."""
        self._house = house
        for spec in self._config.on(self._host).values():
            self._staff(spec)

    def take(self, config: MeshConfig) -> None:
        """Let what the agent files say now count; `add` and `remove` bring the cells in line with it."""
        self._config = self._config.model_copy(update={"agents": config.agents})
        self.rules.forget()

    def add(self, service: str) -> list[Cell]:
        """Make and start the cells of an agent that is new on this host."""
        return [self._launched(cell) for cell in self._staff(self._possible(service))]

    async def remove(self, service: str) -> None:
        """Stop an agent that does not belong to this host any more, and let go of it."""
        await self._let_go(self.roster.of(service), "it is not configured here any more")

    def lodge(self, spec: AgentSpec) -> list[Cell]:
        """Make and start the cells of an agent that no file tells of, until `dislodge` lets go of it."""
        self._config = self._config.model_copy(update={"agents": {**self._config.agents, spec.service: spec}})
        return self.add(spec.service)

    async def dislodge(self, service: str) -> None:
        """Stop an agent that no file tells of, and let go of it."""
        await self.remove(service)
        agents = {name: spec for name, spec in self._config.agents.items() if name != service}
        self._config = self._config.model_copy(update={"agents": agents})

    async def scale(self, spec: AgentSpec) -> list[Cell]:
        """Bring the number of a service's cells to what `spec` says of this host; returns those that are new.

        New ones are up, or have shown that they do not come up; of those that go, the highest numbers, no call is lost:
        others take theirs while they drain.
        """
        surplus = self.roster.of(spec.service)[spec.count(self._host):]
        if surplus:
            await self._let_go(surplus, f"{spec.service} has {spec.count(self._host)} instances here now")
        fresh = [self._launched(cell) for cell in self._staff(spec)]
        await asyncio.gather(*(cell.settled.wait() for cell in fresh))
        return fresh

    def launch(self) -> None:
        """Start every cell that an operator has not stopped, with the settings in force."""
        for service in self.roster.services():
            spec = self._possible(service)
            for cell in self.roster.of(service)[spec.count(self._host):]:
                self.roster.remove(cell)
            self._staff(spec)
            for cell in self.roster.of(service):
                cell.resize(spec)
                self._launched(cell)

    def _staff(self, spec: AgentSpec) -> list[Cell]:
        """Make the cells that `spec` wants here and that are missing; none of them runs yet."""
        assert self._house is not None
        taken = {cell.number for cell in self.roster.of(spec.service)}
        missing = [number for number in range(1, spec.count(self._host) + 1) if number not in taken]
        fresh = [Cell(spec, self._house, number=number) for number in missing]
        for cell in fresh:
            self.roster.add(cell)
        return fresh

    def _launched(self, cell: Cell) -> Cell:
        if self._wanted(cell):
            cell.launch()
        else:
            cell.rest("stopped by an operator")
        return cell

    async def _let_go(self, cells: Sequence[Cell], reason: str) -> None:
        """Drain and stop cells, and strike them off the list."""
        await asyncio.gather(*(self._ended(cell, reason) for cell in cells))
        for cell in cells:
            self.roster.remove(cell)
            self._gone(cell)
        for service in {cell.service for cell in cells}:
            self._inventory_changed(service)

    async def _ended(self, cell: Cell, reason: str) -> None:
        await cell.stop(reason)
        while not cell.at_rest:  # somebody wanted it back meanwhile
            await cell.stop(reason)

    async def settled(self) -> None:
        """Return when every cell has come up, or has shown that it does not."""
        await asyncio.gather(*(cell.settled.wait() for cell in self.roster.by_name.values()))

    def add_version(self, name: str) -> Cell:
        """Make the cell of a version that shall run beside its service, as `nlu:v2`; it does not run yet."""
        return self._staff(self._possible(name))[0]

    async def stop(self) -> None:
        """Drain and stop all, those first that others do not depend on."""
        versions = [service for service in self.roster.services() if split_version(service)[1]]
        await asyncio.gather(*(cell.stop("the host stops") for name in versions for cell in self.roster.of(name)))
        for wave in reversed(waves(self._config, self._host)):
            await asyncio.gather(*(cell.stop("the host stops") for service in wave
                                   for cell in self.roster.of(service)))

    def inventory(self) -> list[InstanceRecord]:
        """Return the rows of this host's cells for the registry."""
        return [self._row(cell) for cell in self.roster.by_name.values()]

    def offered(self, service: str) -> list[InstanceRecord]:
        """Return those of one service."""
        return [self._row(cell) for cell in self.roster.of(service)]

    def _row(self, cell: Cell) -> InstanceRecord:
        return InstanceRecord(cell.service, self._host, cell.incarnation, cell.state.value, cell.lifecycle.reason,
                              tuple(sorted(cell.offer.operations)), cell.number, cell.offer.version, cell.offer.traits)

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every cell."""
        for cell in self.roster.by_name.values():
            yield from cell.samples()

    def summary(self) -> dict[str, Any]:
        """Return how many are ready, and which are not and why."""
        rows = [(cell.name, cell.state.value, _why(cell)) for cell in self.roster.by_name.values()]
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
        return sorted({_placed(service, hosts) for cell in self.roster.by_name.values() if cell.state.serving
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
        return any(states.get(host) != "quarantined" and self.desired(service, host) == "running"
                   for host in hosts)

    async def dependencies_ready(self, spec: AgentSpec) -> None:
        """Wait until the services an agent cannot start without are ready on this host."""
        needed = [one.service for one in spec.depends_on if not one.soft and self.roster.of(one.service)]
        while waits := [service for service in needed if not self._serves(service)]:
            for cell in self.roster.of(spec.service):
                if cell.state == "starting" and cell.lifecycle.explain(f"waiting for {', '.join(waits)}"):
                    cell.settled.set()
                    self._inventory_changed(spec.service)
            await self._bell.wait(WAIT)

    def _serves(self, service: str) -> bool:
        return any(cell.state.serving for cell in self.roster.of(service))

    def look_soon(self) -> None:
        """Have the cells look at their dependencies again, once for all that happens in this turn of the loop."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """Have every cell say anew whether it misses somebody."""
        self._looking = False
        for cell in self.roster.by_name.values():
            cell.reconsider()

    # -- what operators want

    def obey(self, name: str) -> None:
        """Follow what an operator wants of a service, or of one instance, as the registry tells it."""
        service, _ = split_instance(name)
        for cell in self.roster.of(service):
            if not self._wanted(cell) and cell.state not in ("stopped", "draining"):
                self._spawn(cell.stop("stopped by an operator"))
            elif self._wanted(cell) and cell.state in ("stopped", "draining"):
                cell.launch(by_operator=True)

    def reset(self, service: str) -> None:
        """Bring a service to its configuration in force, which may have changed."""
        self.rules.forget(service)
        self.adjustments.follow(service)

    def wanted(self, service: str) -> bool:
        """Tell whether an operator wants a service to run here; one who has said nothing does."""
        return self.desired(service) == "running"

    def _wanted(self, cell: Cell) -> bool:
        """Tell whether an operator wants an instance to run: neither it nor its service was stopped."""
        return self.wanted(cell.service) and self.wanted(f"{cell.service}#{cell.number}")

    def desired(self, service: str, host: str | None = None) -> str:
        """Return what an operator wants of a service, or of one instance as `nlu#2`, on a host, by default this one."""
        told = self._directory.view.desired.get((service, host or self._host))
        if told is None and host in (None, self._host) and service in self.stopped:
            return "stopped"
        return told or "running"

    def filed(self, service: str) -> AgentSpec:
        """Return what files and environment say of a service, without what operators changed.

        Of a version beside a service it is what they say of that; there is one instance of it.
        """
        base, version = split_version(service)
        spec = self._config.agents[base]
        return spec.model_copy(update={"service": service, "instances": 1}) if version else spec

    def in_force(self, service: str) -> AgentSpec:
        """Return the configuration of a service as operators changed it; raises `ConfigError` if it cannot be."""
        overrides = self.overrides(service)
        return apply_overrides(self.filed(service), overrides) if overrides else self.filed(service)

    def policies(self, service: str) -> Policies | None:
        """Return what stands around calls of a service, wherever it runs; None for one this host has no file of."""
        if split_version(service)[0] not in self._config.agents:
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
        if split_version(service)[0] not in self._config.agents:
            return {}
        try:
            return self.in_force(service).origin
        except ConfigError:
            return self.filed(service).origin

    def overrides(self, service: str) -> Mapping[str, Any]:
        """Return what operators changed of a service, as the registry tells it; of a version all but the instances."""
        base, version = split_version(service)
        told = self._directory.view.overrides.get(base, {})
        return {key: told[key] for key in told if key.partition(".")[0] != "instances"} if version else told

    def _possible(self, service: str) -> AgentSpec:
        """Return the configuration in force; what files say, if what operators changed cannot be."""
        try:
            return self.in_force(service)
        except ConfigError as error:
            for cell in self.roster.of(service)[:1]:
                cell.say(f"what operators changed of it is left out: {error}")
            return self.filed(service)


def _placed(service: str, hosts: Sequence[str]) -> str:
    return f"{service}@{','.join(hosts)}"


def _why(cell: Cell) -> str:
    """Return why a cell is as it is; one that is being started again is so because of its last error."""
    return cell.last_error if cell.state == "starting" and cell.last_error else cell.lifecycle.reason
