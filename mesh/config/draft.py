"""The configuration of one environment, put together from its layers before anybody has said that it is right.

What does not fit is left out of a draft and named in its findings, so the checks see everything that does fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.address import nearest
from mesh.config.findings import Finding, found
from mesh.config.layers import Layers
from mesh.config.model import AgentSpec, Dependency, HostConfig, Limits, MeshConfig, RegistryConfig, RestartsConfig
from mesh.config.project import (
    AGENTS_FOLDER,
    HOSTS_FILE,
    Project,
    base_place,
    base_values,
    section_place,
    section_values,
)
from mesh.config.schema import AgentSection, HostsSection, missing
from mesh.config.source import Source
from mesh.config.validation import check, dotted
from mesh.config.variables import Known, Variable
from mesh.config.variables import read as read_variables

CLASS = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)\Z")

_DEFAULTS: Mapping[str, str] = {
    **dict.fromkeys(("hosts", "instances", "required", "depends_on", "isolation", "restart", "reload"), "default"),
    **{f"restarts.{name}": "default" for name in RestartsConfig.model_fields},
    **{f"limits.{name}": "default" for name in Limits.model_fields},
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration with the layers it came from; `layers` has every agent whose file can be read."""

    config: MeshConfig
    hosts: Layers
    layers: Mapping[str, Layers]
    project: Project
    findings: tuple[Finding, ...]


def draft(project: Project, environment: str, environ: Mapping[str, str]) -> Draft:
    """Return the draft for `environment`, with what the variables of `environ` set."""
    hosts = _laid(project.hosts, environment)
    layers = {service: _laid(source, environment) for service, source in project.agents.items()}
    findings = [*_unknown_environment(project, environment), *_lay_variables(environ, hosts, layers)]
    section, wrong = check(HostsSection, hosts.values, hosts.place)
    findings += wrong
    if project.hosts.readable:
        findings += _missing(section, hosts)
    specs: dict[str, AgentSpec] = {}
    for service, source in project.agents.items():
        agent, wrong = check(AgentSection, layers[service].values, layers[service].place)
        findings += wrong
        if source.readable:
            findings += _missing(agent, layers[service])
        specs[service] = _spec(project.root, service, agent, layers[service])
    home = project.root / (Path(environ.get("MESH_HOME") or ".mesh").expanduser())
    config = _config(project.root, home, environment, section, hosts, specs)
    readable = {service: layers[service] for service, source in project.agents.items() if source.readable}
    return Draft(config, hosts, readable, project, tuple(findings))


def _laid(source: Source, environment: str) -> Layers:
    layers = Layers()
    layers.lay(base_values(source), base_place(source))
    layers.lay(section_values(source, environment), section_place(source, environment))
    return layers


def _lay_variables(environ: Mapping[str, str], hosts: Layers, layers: Mapping[str, Layers]) -> list[Finding]:
    listed = hosts.values.get("hosts")
    settings = {service: layer.values.get("settings") for service, layer in layers.items()}
    known = Known(
        listed if isinstance(listed, dict) else (),
        {service: values if isinstance(values, dict) else {} for service, values in settings.items()},
    )
    variables, findings = read_variables(environ, known)
    for variable in variables:
        _lay(variable, hosts, layers)
    return findings


def _lay(variable: Variable, hosts: Layers, layers: Mapping[str, Layers]) -> None:
    if variable.path[0] == "agents":
        layers[str(variable.path[1])].lay(variable.nested(2), variable.place)
    else:
        hosts.lay(variable.nested(), variable.place)


def _unknown_environment(project: Project, environment: str) -> Iterator[Finding]:
    if project.hosts.readable and environment not in project.environments:
        place = base_place(project.hosts)(("environments",))
        message = f"unknown environment `{environment}`: {HOSTS_FILE} lists {', '.join(project.environments)}"
        near = nearest(environment, project.environments)
        yield found(place, "unknown_environment", message, f"did you mean `{near}`?" if near else None)


def _missing(section: AgentSection | HostsSection, layers: Layers) -> Iterator[Finding]:
    for path, description in missing(section):
        if layers.get(path) not in (None, "", {}) or not isinstance(layers.get(path[:-1]) or {}, dict):
            continue  # written, but not what it takes: that is said already
        yield found(layers.place(path), "missing_key", f"`{dotted(path)}` is missing", description)


def _spec(root: Path, service: str, section: AgentSection, layers: Layers) -> AgentSpec:
    named = CLASS.match(section.class_)
    return AgentSpec(
        service=service,
        file=root / named["file"] if named else root,
        class_name=named["name"] if named else "",
        config_file=root / AGENTS_FOLDER / f"{service}.yaml",
        hosts=tuple(dict.fromkeys(section.hosts)),
        instances=section.instances,
        required=section.required,
        depends_on=tuple(Dependency(service=entry.service, soft=entry.soft) for entry in section.depends_on),
        isolation=section.isolation,
        restart=section.restart,
        restarts=section.restarts,
        reload=section.reload,
        limits=section.limits,
        policies=section.policies,
        settings=section.settings,
        origin={**_DEFAULTS, **dict(layers.origins())},
    )


def _config(
    root: Path, home: Path, environment: str, section: HostsSection, hosts: Layers, agents: dict[str, AgentSpec]
) -> MeshConfig:
    listed: dict[str, Any] = {name: host.model_dump() for name, host in section.hosts.items()}
    return MeshConfig(
        mesh=section.mesh,
        environment=environment,
        security=section.security,
        registry=RegistryConfig(**section.registry.model_dump()),
        tracing=section.tracing,
        state=section.state,
        connections=section.connections,
        logs=section.logs,
        notify=section.notify,
        restart_groups=section.restart_groups,
        policies=section.policies,
        hosts={name: HostConfig(name=name, **host) for name, host in listed.items()},
        agents=agents,
        root=root,
        home=home,
        origin=dict(hosts.origins()),
    )
