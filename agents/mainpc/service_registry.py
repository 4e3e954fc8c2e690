"""The phone book: who serves what and where, as the registry knows it, and services outside the mesh under a lease."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from mesh import Agent, AgentConfig, InvalidArgument, MeshError, operation

MESH = "mesh"
Port = Annotated[int, Field(ge=1, le=65535)]


class Endpoint(BaseModel):
    """Where a service is found.

    A service of the mesh is reached by name: `host` is its host and `listener` where that host listens, for whoever
    wants to know. `last_registered` is ISO 8601 in UTC.
    """

    host: str
    listener: str
    health_check_port: int | None
    agent_type: str
    capabilities: list[str]
    metadata: dict[str, Any]
    last_registered: str


class AgentNames(BaseModel):
    """Names in order."""

    agents: list[str]


@dataclass(frozen=True, slots=True)
class Lease:
    """A service outside the mesh, known until `until` (monotonic seconds) unless it registers again."""

    endpoint: Endpoint
    until: float


class ServiceRegistry(Agent):
    """Phone book of the system: looks up where a service runs, and lists services outside the mesh while they renew."""

    class Config(AgentConfig):
        lease_s: float = 60.0
        """How long a service outside the mesh is listed after it registered."""
        external: int = 1000

    config: Config

    async def setup(self) -> None:
        """Begin without services outside the mesh; they register again within their lease."""
        self._leases: dict[str, Lease] = {}

    @operation(idempotent=True)
    async def register_agent(
        self, agent_id: str, host: str, port: Port, health_check_port: Port | None = None, agent_type: str = "external",
        capabilities: list[str] | None = None, metadata: dict[str, Any] | None = None,
    ) -> None:
        """List a service outside the mesh for `lease_s`; registering again replaces and renews.

        Services of the mesh announce themselves: their names are refused.
        """
        if any(each["service"] == agent_id for each in (await self._table())["instances"]):
            raise InvalidArgument(f"{agent_id} is a service of the mesh and is listed by itself", path="agent_id")
        now = self.clock.monotonic()
        self._leases = {name: lease for name, lease in self._leases.items() if lease.until > now}
        if agent_id not in self._leases and len(self._leases) >= self.config.external:
            raise InvalidArgument(f"{self.config.external} services outside the mesh are listed", path="agent_id")
        endpoint = Endpoint(
            host=host, listener=f"{host}:{port}", health_check_port=health_check_port, agent_type=agent_type,
            capabilities=capabilities or [], metadata=metadata or {}, last_registered=_moment(self.clock.time()),
        )
        self._leases[agent_id] = Lease(endpoint, now + self.config.lease_s)

    @operation(idempotent=True)
    async def get_agent_endpoint(self, agent_name: str) -> Endpoint | None:
        """Return where a service is found, null when nobody serves that name."""
        table = await self._table()
        instances = [each for each in table["instances"] if each["service"] == agent_name]
        if instances:
            return _endpoint(min(instances, key=_rank), table)
        lease = self._leases.get(agent_name)
        return lease.endpoint if lease is not None and lease.until > self.clock.monotonic() else None

    @operation(idempotent=True)
    async def list_agents(self) -> AgentNames:
        """Return the names of all services, those outside the mesh included."""
        now = self.clock.monotonic()
        inside = {str(each["service"]) for each in (await self._table())["instances"]}
        return AgentNames(agents=sorted(inside | {name for name, lease in self._leases.items() if lease.until > now}))

    async def _table(self) -> dict[str, Any]:
        """Return the registry's table, or this host's copy while the registry is away."""
        try:
            table: dict[str, Any] = await self.request("registry.table", timeout=2.0)
        except MeshError:
            table = await self.request("supervisor.directory")
        return table


def _rank(instance: dict[str, Any]) -> tuple[int, str]:
    usable = ("ready", "degraded")
    return (usable.index(instance["state"]) if instance["state"] in usable else len(usable), instance["host"])


def _endpoint(instance: dict[str, Any], table: dict[str, Any]) -> Endpoint:
    hosts = {each["name"]: f"tcp://{each['address']}:{each['port']}" for each in table["hosts"]}
    return Endpoint(
        host=instance["host"], listener=hosts.get(instance["host"], ""), health_check_port=None, agent_type=MESH,
        capabilities=list(instance["operations"]),
        metadata={"state": instance["state"], "reason": instance["reason"], "incarnation": instance["incarnation"]},
        last_registered=_moment(instance["incarnation"] / 1000),  # an incarnation is a start in Unix milliseconds
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
