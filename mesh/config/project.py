"""The files of a project, read once, and what is wrong with each of them whatever the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.config.findings import Finding, Place
from mesh.config.model import DEFAULT_ENVIRONMENT
from mesh.config.schema import AgentFile, AgentSection, HostsFile, HostsSection
from mesh.config.source import KeyPath, Source
from mesh.config.validation import PlaceOf, alike, check
from mesh.errors import ConfigError

HOSTS_FILE = "config/hosts.yaml"
AGENTS_FOLDER = "config/agents"


@dataclass(frozen=True, slots=True)
class Project:
    """Everything the files of one project say; `agents` by service, which is the name of the file."""

    root: Path
    hosts: Source
    agents: Mapping[str, Source]
    findings: tuple[Finding, ...]

    @classmethod
    def read(cls, root: Path) -> Project:
        """Return the project at `root`; what cannot be read becomes a finding."""
        root = root.resolve()
        hosts = Source.read(root / HOSTS_FILE, HOSTS_FILE)
        agents, findings = _read_agents(root)
        for source in (hosts, *agents.values()):
            findings += source.findings
        project = cls(root, hosts, agents, ())
        return cls(root, hosts, agents, (*findings, *project._misfits()))

    @property
    def environments(self) -> tuple[str, ...]:
        """The names that `--environment` may have."""
        return tuple(dict.fromkeys([*_sections(self.hosts), DEFAULT_ENVIRONMENT]))

    def _misfits(self) -> Iterator[Finding]:
        yield from _misfits(self.hosts, HostsFile, HostsSection)
        yield from _foreign_hosts(self.hosts)
        for source in self.agents.values():
            yield from _misfits(source, AgentFile, AgentSection)
            yield from self._foreign_environments(source)

    def _foreign_environments(self, source: Source) -> Iterator[Finding]:
        if not self.hosts.readable:
            return
        for name in _sections(source):
            if name not in self.environments:
                place = base_place(source)(("environments", name))
                message = f"unknown environment `{name}`: {HOSTS_FILE} does not list it"
                hint = alike(name, self.environments)
                yield Finding("error", "unknown_environment", place.file, place.line, message, hint)


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds config/hosts.yaml; raises ConfigError."""
    folders = [start.resolve(), *start.resolve().parents]
    for folder in folders:
        if (folder / HOSTS_FILE).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in folders)
    raise ConfigError(
        f"there is no mesh project here: no {HOSTS_FILE} in {looked}; "
        "go into the project's folder, or name it with --config DIR"
    )


def base_values(source: Source) -> dict[str, Any]:
    """Return what a file says for every environment."""
    return {key: value for key, value in _written(source.values).items() if key not in ("environments", "service")}


def section_values(source: Source, environment: str) -> dict[str, Any]:
    """Return what a file changes for `environment`."""
    section = _written(_sections(source).get(environment, {}))
    hosts, known = section.get("hosts"), source.values.get("hosts")
    if isinstance(hosts, dict) and isinstance(known, dict):
        section["hosts"] = {name: value for name, value in hosts.items() if name in known}
    return section


def base_place(source: Source) -> PlaceOf:
    """Return how to find the line of a value that stands for every environment."""

    def place(path: KeyPath) -> Place:
        line = source.line(path)
        return Place(f"{source.name}:{line}", source.name, line)

    return place


def section_place(source: Source, environment: str) -> PlaceOf:
    """Return how to find the line of a value in the section of `environment`."""

    def place(path: KeyPath) -> Place:
        line = source.line(("environments", environment, *path))
        return Place(f"environment {environment} ({source.name}:{line})", source.name, line)

    return place


def _sections(source: Source) -> dict[str, dict[str, Any]]:
    sections = source.values.get("environments")
    if not isinstance(sections, dict):
        return {}
    return {name: section or {} for name, section in sections.items() if isinstance(section, dict | None)}


def _written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without the keys that have nothing after them: they count as not written."""
    return {key: value for key, value in values.items() if value is not None}


def _misfits(
    source: Source, file: type[AgentFile | HostsFile], section: type[AgentSection | HostsSection]
) -> Iterator[Finding]:
    """Yield what does not fit the schema: in the file itself, and in the section of each environment."""
    sections = _sections(source)
    whole = _written(source.values)
    if sections:
        whole["environments"] = {**whole["environments"], **sections}
    yield from check(file, whole, base_place(source))[1]
    for name in sections:
        yield from check(section, section_values(source, name), section_place(source, name))[1]


def _foreign_hosts(source: Source) -> Iterator[Finding]:
    """Yield the hosts that only an environment names: a slip of the pen would make a new machine."""
    known = source.values.get("hosts")
    if not isinstance(known, dict):
        return
    for environment, section in _sections(source).items():
        hosts = section.get("hosts")
        for name in hosts if isinstance(hosts, dict) else ():
            if name not in known:
                place = section_place(source, environment)(("hosts", name))
                message = f"unknown host `{name}`: an environment changes hosts of the list, it adds none"
                yield Finding("error", "unknown_host", place.file, place.line, message, alike(name, tuple(known)))


def _read_agents(root: Path) -> tuple[dict[str, Source], list[Finding]]:
    folder = root / AGENTS_FOLDER
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except FileNotFoundError:
        names = []
    except OSError as error:
        return {}, [Finding("error", "unreadable", AGENTS_FOLDER, None, f"cannot be read: {error.strerror or error}")]
    agents: dict[str, Source] = {}
    findings: list[Finding] = []
    for name in names:
        file = f"{AGENTS_FOLDER}/{name}"
        stem, _, ending = name.rpartition(".")
        if ending == "yaml":
            agents[stem] = Source.read(folder / name, file)
        elif ending == "yml":
            hint = f"rename it to {stem}.yaml"
            findings.append(Finding("error", "ignored_file", file, None, "is not read: the ending is .yaml", hint))
        elif (folder / name).is_dir():
            hint = f"move its files to {AGENTS_FOLDER}"
            findings.append(Finding("warning", "ignored_file", file, None, "is a folder and is not read", hint))
    if not agents:
        hint = f"write {AGENTS_FOLDER}/<service>.yaml"
        findings.append(Finding("note", "no_agents", AGENTS_FOLDER, None, "there is no agent file", hint))
    return agents, findings
