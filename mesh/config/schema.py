"""What the files may say: `config/hosts.yaml`, and `config/agents/<service>.yaml` for each agent.

Every key has a default here, also those that must be written: an environment section says only what it changes, and
the rest can come from another layer. `missing()` asks for the required ones once all layers are put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mesh.config.instances import Instances
from mesh.config.model import (
    Budget,
    ConnectionsConfig,
    Isolation,
    Limits,
    Logs,
    Notify,
    Reload,
    Restart,
    RestartGroupConfig,
    RestartsConfig,
    Security,
    StateConfig,
    Store,
    Tracing,
)
from mesh.config.policies import Policies
from mesh.config.source import KeyPath

_REQUIRED: dict[str, Any] = {"required": True}
_Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """Base of what files hold: strict types, unknown keys refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class RegistrySection(Section):
    """`registry` of `config/hosts.yaml`."""

    host: str = Field(default="", description="The host whose launcher runs the registry.", json_schema_extra=_REQUIRED)
    port: _Port = Field(default=7400, description="TCP port of the registry.")
    metrics_port: _Port = Field(default=7402, description="TCP port of the registry's metrics page.")
    store: Store = Field(
        default="sqlite",
        description="What keeps desired state and overrides: `sqlite`, a file of its host, or `redis`, copied there."
    )


class HostSection(Section):
    """One entry of `hosts` in `config/hosts.yaml`."""

    address: str = Field(default="", description="Address the other hosts reach it at.", json_schema_extra=_REQUIRED)
    port: _Port = Field(default=7410, description="TCP port for calls between hosts.")
    events_port: _Port = Field(default=7411, description="TCP port where readers outside the mesh subscribe to events.")
    metrics_port: _Port = Field(default=7412, description="TCP port of the metrics page, for Prometheus.")
    key: str | None = Field(
        default=None,
        description="Its public key, when it is another machine; `mesh keys show` prints the line to paste.",
    )
    budget: Budget = Field(default=Budget(), description="What the models of this host may take.")


class HostsSection(Section):
    """What `config/hosts.yaml` says, and what its environments may change."""

    mesh: str = Field(
        default="", description="Name of the mesh; hosts of another are refused.", json_schema_extra=_REQUIRED
    )
    security: Security = Field(
        default="curve", description="`curve` encrypts and checks keys; `none` exists for measuring."
    )
    registry: RegistrySection = Field(default=RegistrySection(), description="Where the registry runs.")
    tracing: Tracing = Field(default=Tracing(), description="Traces of calls.")
    state: StateConfig = Field(default=StateConfig(), description="What keeps the states that agents save.")
    connections: ConnectionsConfig = Field(
        default=ConnectionsConfig(), description="What agents reach outside the mesh as `self.connections`."
    )
    logs: Logs = Field(default=Logs(), description="What is logged, and how much is kept.")
    notify: Notify = Field(default=Notify(), description="Who is told of what needs a person.")
    restart_groups: dict[str, RestartGroupConfig] = Field(
        default_factory=dict, description="Agents that are restarted together, by the name of the group."
    )
    policies: Policies = Field(default=Policies(), description="What is wrapped around every call of the mesh.")
    hosts: dict[str, HostSection] = Field(
        default_factory=dict, description="The hosts by name.", json_schema_extra=_REQUIRED
    )


class HostsFile(HostsSection):
    """`config/hosts.yaml`."""

    environments: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Per environment, what differs: the keys above, for hosts listed above."
    )


class DependencyEntry(Section):
    """One entry of `depends_on`."""

    service: str = Field(default="", description="The service needed.", json_schema_extra=_REQUIRED)
    soft: bool = Field(default=False, description="True when the agent starts without it.")


def _entry(value: Any) -> Any:
    """Let `depends_on: [memory_client]` stand for `[{service: memory_client}]`."""
    return {"service": value} if isinstance(value, str) else value


class AgentSection(Section):
    """What an agent file says, and what its environments may change."""

    class_: str = Field(
        default="",
        alias="class",
        description="Python file and class, as `agents/mainpc/clock.py:Clock`.",
        json_schema_extra=_REQUIRED,
    )
    hosts: list[str] = Field(
        default_factory=list, description="The hosts it runs on; `[]` for nowhere.", json_schema_extra=_REQUIRED
    )
    instances: Instances = Field(
        default=1, description="How many of it run on each of its hosts, 64 at most; "
        "`{mainpc: 2, pc2: 1}` says it for each, and those it does not name have one."
    )
    required: bool = Field(
        default=False, description="Makes `mesh status` fail while it is neither ready nor degraded."
    )
    depends_on: list[Annotated[DependencyEntry, BeforeValidator(_entry)]] = Field(
        default_factory=list, description="Services on its host that it cannot start without, and soft ones it calls."
    )
    isolation: Isolation = Field(
        default="coroutine", description="`coroutine` on the host's event loop; `thread` for libraries that block; "
        "`process` for those that hold the interpreter, crash or leak; `auto` begins as a coroutine and moves it "
        "when it holds the loop or crashes."
    )
    restart: Restart = Field(
        default="permanent", description="`permanent` is started again after any end; `transient` after a crash, not "
        "when it ends by itself with `sys.exit()`; `temporary` never."
    )
    restarts: RestartsConfig = Field(
        default=RestartsConfig(), description="How soon and how often it is started again after a failure."
    )
    reload: Reload = Field(
        default="auto", description="How a new agent takes its place: `beside`, set up while the old one serves; "
        "`after`, when the old one has ended, for what cannot be there twice (a port, a device, what `teardown()` "
        "hands over); `auto` is `after` for agents with a `teardown()` or with models, `beside` for all others."
    )
    limits: Limits = Field(default=Limits(), description="What its cell may take up.")
    policies: Policies = Field(default=Policies(), description="What is wrapped around calls of it, by whomever.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Its own settings, as its `Config` names them.")


class AgentFile(AgentSection):
    """`config/agents/<service>.yaml`."""

    service: str = Field(default="", description="May repeat the file's name; the file's name is the service.")
    environments: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Per environment, what differs: the keys above but `service`."
    )


def missing(model: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str | None]]:
    """Yield path and description of every required key that was not written, or with nothing in it."""
    for name, info in type(model).model_fields.items():
        key = info.alias or name
        value = getattr(model, name)
        if info.json_schema_extra == _REQUIRED and (name not in model.model_fields_set or value in ("", {})):
            yield (*path, key), info.description
        yield from _missing_inside(value, (*path, key))


def _missing_inside(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str | None]]:
    if isinstance(value, BaseModel):
        yield from missing(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _missing_inside(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _missing_inside(item, (*path, index))
