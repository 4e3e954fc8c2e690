"""A live picture of the machine and of every agent, and what would happen under more load."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal
from uuid import uuid4

from agents_mainpc.load_projection import Capacity, project
from agents_mainpc.machine import Machine, VideoMemory
from agents_shared.system import (
    AgentInfo,
    CurrentMetrics,
    EventPublished,
    History,
    LoadedModel,
    LoadType,
    Metrics,
    MetricsHistory,
    Projection,
    RegisteredAgent,
    RegisteredAgents,
)
from pydantic import Field

from mesh import Agent, AgentConfig, MeshError, every, operation

KEPT = 60


class SystemDigitalTwin(Agent):
    """Keeps a live picture of the machine and of every agent, and answers what a given extra load would lead to."""

    class Config(AgentConfig):
        ram_mb: float | None = None
        """What may count as memory; null: what the machine has."""
        vram_mb: dict[str, float] = Field(default={})
        """Video memory by host, where it is not what the driver or the model manager says."""
        ram_share: float = 0.9
        vram_share: float = 0.95
        cpu_percent: float = 90.0

    config: Config

    async def setup(self) -> None:
        """Take a first sample; the processor's share is known from the second on."""
        self._samples: deque[tuple[float, Metrics]] = deque(maxlen=KEPT)
        self._models: dict[str, LoadedModel] = {}
        self._reported: dict[str, float] = {"used": 0.0, "total": 0.0}
        self._machine = await self.run(Machine)
        await self._take(None)

    @every(seconds=5)
    async def sample(self) -> None:
        """Add a sample; the oldest of more than 60 goes."""
        await self._take(await self._latency())

    @operation(idempotent=True)
    async def get_metrics(self) -> CurrentMetrics:
        """Return the latest sample."""
        return CurrentMetrics(metrics=self._samples[-1][1])

    @operation(idempotent=True)
    async def get_history(self) -> History:
        """Return the last 60 samples, one each 5 s."""
        samples = [metrics for _, metrics in self._samples]
        return History(history=MetricsHistory(
            timestamps=[datetime.fromtimestamp(time, UTC).isoformat() for time, _ in self._samples],
            **{name: [getattr(each, name) for each in samples] for name in Metrics.model_fields},
        ))

    @operation(idempotent=True)
    async def simulate_load(self, load_type: LoadType, value: float, device: str | None = None) -> Projection:
        """Return what `value` more (MB, or percent points of the processor) would lead to.

        `device` names the host whose video memory is meant, this one by default.
        """
        place = device or self.host
        metrics = self._samples[-1][1]
        if place != self.host:
            used = sum(model.vram_usage_mb for model in self._models.values() if model.device == place)
            metrics = metrics.model_copy(update={"vram_usage_mb": used})
        return project(load_type, value, metrics, Capacity(
            ram_mb=self.config.ram_mb or self._machine.ram_mb,
            vram_mb=self.config.vram_mb.get(place, self._vram_mb(place)),
            ram_share=self.config.ram_share, vram_share=self.config.vram_share, cpu_percent=self.config.cpu_percent,
        ))

    @operation(idempotent=True)
    async def update_vram_metrics(
        self, total_vram_mb: float, total_vram_used_mb: float, loaded_models: dict[str, LoadedModel]
    ) -> None:
        """Take what the model manager knows: this host's video memory, and every loaded model with its host."""
        self._models = loaded_models
        self._reported = {"used": total_vram_used_mb, "total": total_vram_mb}

    @operation(idempotent=True)
    async def get_registered_agents(self) -> RegisteredAgents:
        """Return every instance of every service."""
        return RegisteredAgents(agents=await self._agents())

    @operation(idempotent=True)
    async def get_all_agents(self) -> RegisteredAgents:
        """Return every instance of every service; the older name of `get_registered_agents`."""
        return RegisteredAgents(agents=await self._agents())

    @operation(idempotent=True)
    async def get_ok_agents(self) -> RegisteredAgents:
        """Return the instances that are ready."""
        return RegisteredAgents(agents=[each for each in await self._agents() if each.status == "ready"])

    @operation(idempotent=True)
    async def get_agent_info(self, agent_name: str) -> AgentInfo:
        """Return the best instance of a service, null when nobody serves the name."""
        found = [each for each in await self._agents() if each.name == agent_name]
        return AgentInfo(agent=min(found, key=lambda each: (each.status != "ready", each.location), default=None))

    @operation(idempotent=True)
    async def register_agent(self, agent_id: str, host: str, port: int, capabilities: list[str] | None = None) -> None:
        """Pass the registration of a service outside the mesh on to `service_registry`."""
        await self.request("service_registry.register_agent", agent_id=agent_id, host=host, port=port,
                           capabilities=capabilities or [], timeout=5.0)

    @operation(idempotent=True)
    async def get_agent_endpoint(self, agent_name: str) -> dict[str, Any] | None:
        """Return what `service_registry` knows of a service."""
        endpoint: dict[str, Any] | None = await self.request(
            "service_registry.get_agent_endpoint", agent_name=agent_name, timeout=5.0
        )
        return endpoint

    @operation
    async def publish_event(
        self, event_type: str, source_agent: str, data: dict[str, Any] | None = None, event_id: str | None = None,
        propagate: bool = True, ttl: float | None = None,
    ) -> EventPublished:
        """Fan an event of another agent out as `system.event` and return its id; `ttl` is seconds, for its readers."""
        identity = event_id or uuid4().hex
        if propagate:
            await self.publish("system.event", {
                "event_id": identity, "event_type": event_type, "source_agent": source_agent, "data": data or {},
                "ttl": ttl, "time": self.clock.time(),
            })
        return EventPublished(event_id=identity)

    @operation
    async def report_error(
        self, message: str, agent: str, error_type: str = "error",
        severity: Literal["debug", "info", "warning", "error", "critical"] = "error",
    ) -> None:
        """Put an error on the error bus for something that is no agent."""
        await self.report(message, severity=severity, agent=agent, error_type=error_type)

    async def _take(self, latency_ms: float | None) -> None:
        cpu, ram, card = await self.run(self._read)
        self._card = card
        self._samples.append((self.clock.time(), Metrics(
            cpu_usage=cpu, ram_usage_mb=ram, vram_usage_mb=card.used_mb if card else self._reported["used"],
            network_latency_ms=latency_ms,
        )))

    def _read(self) -> tuple[float, float, VideoMemory | None]:
        return self._machine.cpu_percent(), self._machine.ram_used_mb(), self._machine.video_memory()

    def _vram_mb(self, place: str) -> float:
        if place != self.host:
            return 0.0  # nobody has told, and a guess would let a model in that does not fit
        return self._card.total_mb if self._card else self._reported["total"]

    async def _latency(self) -> float | None:
        """Return the longest way to another host and back, in ms; None while none answers."""
        table = await self.request("supervisor.directory")
        others = [each["name"] for each in table["hosts"] if each["name"] != self.host and each["state"] == "ok"]
        times: list[float] = []
        for host in others:
            started = perf_counter()
            try:
                await self.options(to_host=host).request("supervisor.status", timeout=2.0)
            except MeshError:
                continue  # its host's state is told by the registry, not by a missing sample
            times.append(1000 * (perf_counter() - started))
        return round(max(times), 3) if times else None

    async def _agents(self) -> list[RegisteredAgent]:
        table = await self.request("supervisor.directory")
        hosts = {each["name"]: each for each in table["hosts"]}
        return [
            RegisteredAgent(
                name=each["service"], status=each["state"], location=each["host"],
                host=hosts[each["host"]]["address"], port=hosts[each["host"]]["port"],
                capabilities=list(each["operations"]),
            )
            for each in table["instances"] if each["host"] in hosts
        ]
