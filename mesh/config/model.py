"""The configuration in force: one frozen model, read once at the edge; the inside takes plain values from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mesh.config.instances import Instances, count_on
from mesh.config.policies import Policies
from mesh.restart import BUDGET, DELAYS, QUIET, START_FAILURES, WINDOW, Terms

Security = Literal["curve", "none"]
Store = Literal["sqlite", "redis"]
Rung = Literal["coroutine", "thread", "process"]
Isolation = Literal["coroutine", "thread", "process", "auto"]
Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Reload = Literal["auto", "beside", "after"]

DEFAULT_ENVIRONMENT = "development"


class Frozen(BaseModel):
    """Base of the models: strict types, no unknown keys, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(Frozen):
    """What one cell may take up."""

    inbox: int = Field(default=1024, gt=0, description="Calls that may wait; one more is answered `overloaded`.")
    concurrency: int = Field(default=64, gt=0, description="Calls the cell works on at the same time.")
    start_s: float = Field(default=10.0, gt=0, description="Seconds `setup()` may take.")
    stop_s: float = Field(
        default=5.0, gt=0, description="Seconds running calls and `teardown()` may take when the cell stops."
    )
    cleanup_s: float = Field(
        default=1.0, gt=0, description="Seconds an execution that was cancelled may take to end; then it is cancelled "
        "once more and named."
    )
    memory_mb: int | None = Field(
        default=None, gt=0, description="MiB of memory (PSS) its process may use: a warning at 80 %, above it a "
        "restart; like all that follow for `isolation: process` alone."
    )
    cpu_s: int | None = Field(
        default=None, gt=0,
        description="Seconds of CPU time its process may use from start to end, then it is restarted."
    )
    open_files: int | None = Field(default=None, ge=64, description="Files and connections its process may hold open.")
    stuck_s: float = Field(
        default=60.0, gt=0, description="Seconds the loop of its process may stand still before it is restarted."
    )


class RestartsConfig(Frozen):
    """How soon and how often an agent is started again."""

    budget: int = Field(default=BUDGET, ge=0, le=1000, description="Restarts within `within_s`; one more failure "
                                                                  "quarantines it.")
    within_s: float = Field(default=WINDOW, ge=1, le=86400, description="Seconds for which a failure counts.")
    delays_s: list[Annotated[float, Field(ge=0.01, le=3600)]] = Field(
        default=list(DELAYS), min_length=1, max_length=20,
        description="Seconds before each restart, ± 20 %; the last one stays.",
    )
    starts: int = Field(default=START_FAILURES, ge=1, le=1000,
                        description="Failures before it was ever ready that quarantine it.")
    quiet_s: float = Field(default=QUIET, ge=1, le=86400,
                           description="Seconds without a failure after which delays and failed starts count anew.")

    def terms(self) -> Terms:
        """Return them as what decides takes them."""
        return Terms(tuple(self.delays_s), self.budget, self.within_s, self.starts, self.quiet_s)


class RestartGroupConfig(Frozen):
    """Agents that are restarted together, or given up together; on each host those of them that run there."""

    agents: list[str] = Field(
        default_factory=list, description="The services, in the order of their start where `depends_on` leaves it open."
    )
    strategy: Strategy = Field(
        default="one_for_one", description="Who is restarted with one that failed: nobody, `one_for_all`, or those "
        "that start after it (`rest_for_one`)."
    )
    budget: int = Field(default=BUDGET, ge=0, le=1000, description="Failures of all of them together within "
                                                                  "`within_s`; one more quarantines the group.")
    within_s: float = Field(default=WINDOW, ge=1, le=86400, description="Seconds for which a failure counts.")


class Dependency(Frozen):
    """A service an agent needs; a soft one never delays or prevents its start."""

    service: str
    soft: bool = False


class RedisConfig(Frozen):
    """The Redis server of a mesh; its password stands in the environment, never in a file."""

    url: str = Field(default="", description="Such as `redis://192.168.1.10:6379/0`; `rediss://` for TLS.")
    username: str | None = Field(default=None, description="The user to log in as, where Redis has users.")
    password_env: str | None = Field(
        default=None, description="Name of the environment variable that holds the password; none without one."
    )
    pool: int = Field(default=16, gt=0, description="Connections of one process at most; who finds none free waits.")
    timeout_s: float = Field(default=2.0, gt=0, description="Seconds a command may take, the wait for one included.")


class HttpTarget(Frozen):
    """An HTTP server that agents call by a name."""

    url: str = Field(default="", description="Such as `https://api.example.com/v2`; paths are put behind it.")
    token_env: str | None = Field(
        default=None, description="Name of the environment variable whose value is sent as bearer token."
    )
    check: str | None = Field(default=None, description="Path to ask now and then whether it is well, as `/health`.")


class HttpConfig(Frozen):
    """What one process may do over HTTP, all its agents together."""

    pool: int = Field(default=64, gt=0, description="Connections of one process at most.")
    per_target: int = Field(default=8, gt=0, description="Requests to one server at the same time.")
    timeout_s: float = Field(default=10.0, gt=0, description="Seconds a request may take, with all its attempts.")
    max_response_mb: float = Field(default=16.0, gt=0, description="MiB an answer may have, unpacked.")
    attempts: int = Field(default=3, gt=0, description="Tries of a request that may be repeated, the first included.")
    redirects: int = Field(default=3, ge=0, description="Redirects that are followed.")
    private: list[str] = Field(
        default_factory=list,
        description="Networks besides the internet that may be asked, as `192.168.1.0/24`; named targets need no line.",
    )
    targets: dict[str, HttpTarget] = Field(default_factory=dict, description="Servers that agents call by name.")


class ConnectionsConfig(Frozen):
    """What agents reach outside the mesh as `self.connections`."""

    redis: RedisConfig | None = Field(default=None, description="The Redis server; without this section there is none.")
    http: HttpConfig = Field(default=HttpConfig(), description="What agents may do over HTTP.")


class Budget(Frozen):
    """What one host's models and kept results may take; without a figure models take what they want."""

    memory_mb: float | None = Field(default=None, gt=0, description="MiB of memory for models on the device `cpu`.")
    devices: dict[str, float] = Field(
        default_factory=dict, description="MiB of each other device, as `{\"cuda:0\": 8192}`."
    )
    cache_mb: float = Field(default=64.0, ge=0, description="MiB of memory for results kept by `policies.cache`.")
    cache_entries: int = Field(default=20_000, ge=0, description="Results kept by `policies.cache`.")


class StateConfig(Frozen):
    """Where `save_state` keeps what agents ask to be remembered."""

    store: Store = Field(default="sqlite", description="`sqlite`: a file of each host; `redis`: `connections.redis`.")


class RegistryConfig(Frozen):
    """Where the registry listens and what it keeps its lasting records in."""

    host: str
    port: int
    metrics_port: int = 7402
    store: Store = "sqlite"


class Tracing(Frozen):
    """Of which calls spans are kept, and where they go besides."""

    sample: float = Field(default=0.01, ge=0, le=1, description="Share of new traces whose spans are kept; those of "
                                                                "calls that failed always are.")
    otlp: str | None = Field(
        default=None, pattern=r"^https?://\S+$",
        description="OTLP/HTTP receiver the sampled spans go to, as `http://localhost:4318`; needs the extra "
                    "`mesh[tracing]`.",
    )


class Logs(Frozen):
    """What a host's processes write down, in `.mesh/<host>/logs`."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is less than this is not written."
    )
    megabytes: int = Field(
        default=100, ge=1, description="Limit of a host's logs; the oldest files make room, none takes over a tenth."
    )


class Notify(Frozen):
    """Who is told of what needs a person."""

    command: list[str] = Field(
        default_factory=list,
        description="Program and its arguments, run in the project's folder with the notification as JSON on its "
                    "standard input; no shell.",
    )
    webhook: str | None = Field(
        default=None, pattern=r"^https?://\S+$", description="URL the notification is posted to as JSON."
    )
    about: list[Literal["error", "quarantine", "host_dead"]] = Field(
        default=["error", "quarantine", "host_dead"],
        description="Of what: an error that is new or came back, an agent in quarantine, a host that died.",
    )


class HostConfig(Frozen):
    """One machine, or one supervisor on a machine shared with others; `key` is its public CURVE key (Z85)."""

    name: str
    address: str
    port: int
    events_port: int
    metrics_port: int
    key: str | None = None
    budget: Budget = Budget()


class AgentSpec(Frozen):
    """What `config/agents/<service>.yaml` says, in the environment in force.

    `file` is the absolute path of the Python file and `config_file` that of the YAML file. `origin` tells for a dotted
    key (`limits.inbox`, `settings.results`) where its value came from: `default`, `config/agents/x.yaml:12`,
    `environment production (config/agents/x.yaml:14)`, `env MESH_AGENTS__X__SETTINGS__RESULTS` or `override`. Settings
    nobody wrote are not in it: the agent's own class has their defaults.
    """

    service: str
    file: Path
    class_name: str
    config_file: Path | None = None
    hosts: tuple[str, ...] = ()
    instances: Instances = 1
    required: bool = False
    depends_on: tuple[Dependency, ...] = ()
    isolation: Isolation = "coroutine"
    restart: Restart = "permanent"
    restarts: RestartsConfig = RestartsConfig()
    reload: Reload = "auto"
    limits: Limits = Limits()
    policies: Policies = Policies()
    settings: dict[str, Any] = Field(default_factory=dict)
    origin: dict[str, str] = Field(default_factory=dict)

    def count(self, host: str) -> int:
        """Return how many instances of it run on one of its hosts."""
        return count_on(self.instances, host)


class MeshConfig(Frozen):
    """The whole configuration; `root` is the project folder and `home` the folder for state, logs, sockets and keys."""

    mesh: str
    environment: str = DEFAULT_ENVIRONMENT
    security: Security = "curve"
    registry: RegistryConfig
    tracing: Tracing = Tracing()
    state: StateConfig = StateConfig()
    connections: ConnectionsConfig = ConnectionsConfig()
    logs: Logs = Logs()
    notify: Notify = Notify()
    policies: Policies = Policies()
    hosts: dict[str, HostConfig]
    restart_groups: dict[str, RestartGroupConfig] = Field(default_factory=dict)
    agents: dict[str, AgentSpec] = Field(default_factory=dict)
    root: Path
    home: Path
    origin: dict[str, str] = Field(default_factory=dict)

    def on(self, host: str) -> dict[str, AgentSpec]:
        """Return the agents that run on `host`, by service name."""
        return {service: spec for service, spec in self.agents.items() if host in spec.hosts}
