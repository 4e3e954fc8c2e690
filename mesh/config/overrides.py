"""What operators change while the mesh runs: the keys they may name, and how their values lie over a file's.

A key names a setting (`results`, `engine.timeout_s`), or what the mesh itself reads: `limits.inbox`, `isolation`,
`restart`, `restarts.budget`, `instances`, `instances.pc2`, `policies.retry.attempts`. A setting whose own name begins
like one of those is written with `settings.` in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.config.findings import Finding, Place
from mesh.config.instances import INSTANCES, count_on
from mesh.config.model import AgentSpec
from mesh.config.schema import AgentSection
from mesh.config.validation import check
from mesh.errors import ConfigError

SETTINGS = "settings"
ISOLATION = "isolation"
OVERRIDE = "override"
_SECTIONS = ("limits", "restarts", "policies")
_SINGLE = ("restart", ISOLATION, INSTANCES)


def config_key(key: str) -> str:
    """Return the key in an agent's file that an override `key` stands for: `settings.results` for `results`."""
    first = key.partition(".")[0]
    return key if first in (SETTINGS, *_SECTIONS, *_SINGLE) else f"{SETTINGS}.{key}"


def override_key(key: str) -> str:
    """Return the one way to write an override's key: without `settings.` wherever that is clear."""
    short = key.removeprefix(f"{SETTINGS}.")
    return short if config_key(short) == config_key(key) else key


def apply_overrides(spec: AgentSpec, overrides: Mapping[str, Any]) -> AgentSpec:
    """Return `spec` with overrides laid over it; raises ConfigError for a key or a limit that cannot be.

    Apply to the spec that `load` returned without overrides: what is no longer overridden is then as the files say.
    Values of settings are not checked here: only the agent's class knows them.
    """
    values: dict[str, Any] = {SETTINGS: spec.settings, "limits": spec.limits.model_dump(), "restart": spec.restart,
                              "restarts": spec.restarts.model_dump(), ISOLATION: spec.isolation,
                              INSTANCES: spec.instances,
                              "policies": spec.policies.model_dump(exclude_unset=True)}
    origin = dict(spec.origin)
    for key, value in overrides.items():
        full = config_key(key)
        steps = full.split(".")
        if not all(steps) or full in (SETTINGS, *_SECTIONS):
            raise ConfigError(f"{key!r} is no key of the settings of {spec.service}; write names with dots between")
        if steps[0] == INSTANCES and len(steps) > 1:  # one host's, so those of the others are said as well
            values[INSTANCES] = {host: count_on(values[INSTANCES], host) for host in spec.hosts}
        values = _put(values, steps, value)
        origin = {known: text for known, text in origin.items() if not _covers(full, known)}
        origin[full] = OVERRIDE
    cell, wrong = check(AgentSection, {key: values[key] for key in (*_SECTIONS, *_SINGLE)}, _nowhere)
    if wrong:
        raise ConfigError("\n".join(f"{spec.service}: {_told(finding)}" for finding in wrong))
    if isinstance(cell.instances, dict) and (strange := sorted(cell.instances.keys() - set(spec.hosts))):
        raise ConfigError(f"{spec.service} does not run on {', '.join(strange)}, but on {', '.join(spec.hosts)}")
    changed = {key: getattr(cell, key) for key in (*_SECTIONS, *_SINGLE)}
    return spec.model_copy(update={**changed, "settings": values[SETTINGS], "origin": origin})


def _nowhere(_: object) -> Place:
    return Place("")


def _told(finding: Finding) -> str:
    return finding.message.removeprefix(": ") + (f" ({finding.hint})" if finding.hint else "")


def _put(values: Mapping[str, Any], steps: list[str], value: Any) -> dict[str, Any]:
    """Return `values` with the value at `steps` replaced; what is on the way is copied, never changed."""
    first, *rest = steps
    if rest:
        inside = values.get(first)
        value = _put(inside if isinstance(inside, Mapping) else {}, rest, value)
    return {**values, first: value}


def _covers(key: str, known: str) -> bool:
    """Tell whether one of two dotted keys is the other or lies inside it."""
    return key == known or known.startswith(f"{key}.") or key.startswith(f"{known}.")
