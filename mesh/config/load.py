"""Reads the configuration: defaults, then files, environment section, environment variables, registry overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.config.agent_checks import check_agents
from mesh.config.connection_checks import check_connections
from mesh.config.draft import Draft, draft
from mesh.config.findings import Finding, arranged, refusal
from mesh.config.host_checks import check_hosts
from mesh.config.model import DEFAULT_ENVIRONMENT, MeshConfig
from mesh.config.overrides import apply_overrides
from mesh.config.project import AGENTS_FOLDER, Project
from mesh.config.restart_group_checks import check_restart_groups

Overrides = Mapping[str, Mapping[str, Any]]


def load(
    root: Path,
    *,
    environment: str | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Overrides | None = None,
) -> MeshConfig:
    """Return the configuration of the project at `root`; raises ConfigError that lists everything that is wrong.

    `environment` is by default MESH_ENVIRONMENT, else `development`. `overrides` holds for a service dotted keys of
    its settings and their values; those for services that no file configures are left out.
    """
    project = Project.read(root)
    made = draft(project, _environment(environment, environ), environ)
    if error := refusal([*project.findings, *_findings(made)]):
        raise error
    changed = {
        service: apply_overrides(made.config.agents[service], settings)
        for service, settings in (overrides or {}).items()
        if service in made.config.agents
    }
    return made.config.model_copy(update={"agents": {**made.config.agents, **changed}}) if changed else made.config


def findings(
    root: Path,
    *,
    environment: str | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Overrides | None = None,
) -> list[Finding]:
    """Return everything there is to say about the project at `root`, errors first, then by file and line.

    `load` raises for exactly the findings of severity `error`. What is wrong only in another environment is a warning.
    """
    project = Project.read(root)
    current = _environment(environment, environ)
    found = [*project.findings, *_findings(draft(project, current, environ)), *_stale(project, overrides or {})]
    for other in project.environments:
        if other != current:
            found += _elsewhere(other, _findings(draft(project, other, {})), found)
    return arranged(found)


def _environment(environment: str | None, environ: Mapping[str, str]) -> str:
    return environment or environ.get("MESH_ENVIRONMENT") or DEFAULT_ENVIRONMENT


def _findings(made: Draft) -> list[Finding]:
    checks = (check_hosts, check_connections, check_agents, check_restart_groups)
    return [*made.findings, *(finding for check in checks for finding in check(made))]


def _elsewhere(environment: str, found: list[Finding], known: list[Finding]) -> Iterator[Finding]:
    """Yield what is found only in `environment`; it hinders nobody here, so an error becomes a warning."""
    for item in found:
        if item not in known:
            severity = "warning" if item.severity == "error" else item.severity
            yield replace(item, severity=severity, message=f"environment {environment}: {item.message}")


def _stale(project: Project, overrides: Overrides) -> Iterator[Finding]:
    for service in overrides:
        if service not in project.agents:
            message = f"the registry keeps settings for `{service}`, which no file configures"
            hint = "left from an agent whose file was removed or renamed"
            yield Finding("note", "stale_override", AGENTS_FOLDER, None, message, hint)
