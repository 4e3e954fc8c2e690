"""The base class of agents that speak to services outside over HTTP, each within limits of its own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mesh.agent.agent import Agent
from mesh.agent.settings import AgentConfig
from mesh.connections import HttpClient


class HttpSettings(BaseModel):
    """What an agent takes of `connections: http:` of config/hosts.yaml, never more than that allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float | None = Field(default=None, gt=0, description="Seconds a request may take in all.")
    per_target: int | None = Field(default=None, gt=0, description="Its requests to one server at the same time.")
    max_response_mb: float | None = Field(default=None, gt=0, description="MiB an answer may have.")
    attempts: int | None = Field(default=None, gt=0, description="Tries of what may be repeated, the first included.")
    redirects: int | None = Field(default=None, ge=0, description="Redirects that are followed.")


class IntegrationAgent(Agent):
    """An agent that uses services outside the mesh. A `Config` derived from `IntegrationAgent.Config` takes `http`."""

    class Config(AgentConfig):
        """Settings of an agent that speaks HTTP."""

        http: HttpSettings = HttpSettings()

    _mesh_http: HttpClient | None = None

    @property
    def http(self) -> HttpClient:
        """HTTP within the limits of this agent's config; `self.http.to("weather")` for a target that config names."""
        if self._mesh_http is None:
            settings = getattr(self.config, "http", None)
            own = settings.model_dump() if isinstance(settings, HttpSettings) else {}
            self._mesh_http = self.connections.http.within(**own)
        return self._mesh_http
