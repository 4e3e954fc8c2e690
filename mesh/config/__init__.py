"""The configuration of a mesh: `config/hosts.yaml` and one `config/agents/<service>.yaml` for each agent.

Read once, at the edge, into one frozen model; whoever needs a value is given it.
"""

from mesh.config.findings import CODES, Finding, Severity
from mesh.config.graph import hard_edges, start_order, waves
from mesh.config.instances import INSTANCES, MOST
from mesh.config.load import findings, load
from mesh.config.model import (
    AgentSpec,
    Budget,
    ConnectionsConfig,
    Dependency,
    HostConfig,
    HttpConfig,
    HttpTarget,
    Isolation,
    Limits,
    MeshConfig,
    RedisConfig,
    RegistryConfig,
    RestartGroupConfig,
    RestartsConfig,
    Rung,
    StateConfig,
)
from mesh.config.overrides import ISOLATION, apply_overrides, config_key, override_key
from mesh.config.policies import Balance, BreakerRule, CacheRule, FallbackRule, Policies, RetryRule, Rules, rules_of
from mesh.config.project import find_root

__all__ = [
    "CODES",
    "INSTANCES",
    "ISOLATION",
    "MOST",
    "AgentSpec",
    "Balance",
    "BreakerRule",
    "Budget",
    "CacheRule",
    "ConnectionsConfig",
    "Dependency",
    "FallbackRule",
    "Finding",
    "HostConfig",
    "HttpConfig",
    "HttpTarget",
    "Isolation",
    "Limits",
    "MeshConfig",
    "Policies",
    "RedisConfig",
    "RegistryConfig",
    "RestartGroupConfig",
    "RestartsConfig",
    "RetryRule",
    "Rules",
    "Rung",
    "Severity",
    "StateConfig",
    "apply_overrides",
    "config_key",
    "find_root",
    "findings",
    "hard_edges",
    "load",
    "override_key",
    "rules_of",
    "start_order",
    "waves",
]
