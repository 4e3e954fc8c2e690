"""What the digital twin tells of machines, loads and agents."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

LoadType = Literal["vram", "cpu", "ram"]


class Metrics(BaseModel):
    """One sample: percent, MB, and milliseconds to the other hosts and back (null while none answers)."""

    cpu_usage: float
    vram_usage_mb: float
    ram_usage_mb: float
    network_latency_ms: float | None


class CurrentMetrics(BaseModel):
    """The latest sample."""

    metrics: Metrics


class MetricsHistory(BaseModel):
    """The last samples as parallel lists, oldest first; times are ISO 8601 in UTC."""

    timestamps: list[str]
    cpu_usage: list[float]
    vram_usage_mb: list[float]
    ram_usage_mb: list[float]
    network_latency_ms: list[float | None]


class History(BaseModel):
    """The last samples."""

    history: MetricsHistory


class Projection(BaseModel):
    """What a load would lead to; only the projected value of its own kind is given."""

    recommendation: Literal["proceed", "caution_high_cpu", "deny_insufficient_resources"]
    reason: str | None = None
    projected_vram_mb: float | None = None
    projected_cpu_percent: float | None = None
    projected_ram_mb: float | None = None
    current_state: Metrics


class RegisteredAgent(BaseModel):
    """An instance as this host knows it: `location` is its host, `host` and `port` where that host listens."""

    name: str
    status: str
    location: str
    host: str
    port: int
    capabilities: list[str]


class RegisteredAgents(BaseModel):
    """Instances in order of name."""

    agents: list[RegisteredAgent]


class AgentInfo(BaseModel):
    """One instance, null when nobody serves the name."""

    agent: RegisteredAgent | None


class LoadedModel(BaseModel):
    """A model in video memory; `device` is the host whose memory it is, `last_used` wall-clock seconds."""

    device: str
    vram_usage_mb: float
    last_used: float | None = None


class EventPublished(BaseModel):
    """The id of the event."""

    event_id: str
