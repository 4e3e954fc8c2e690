"""Checks of the agents against each other and against the hosts: names, places, dependencies, class files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mesh.address import NAME, RESERVED, nearest
from mesh.config.draft import CLASS, Draft
from mesh.config.findings import Finding, found
from mesh.config.graph import cycles, hard_edges
from mesh.config.host_checks import NAME_RULE
from mesh.config.model import Dependency
from mesh.config.project import base_place
from mesh.config.validation import alike


def check_agents(draft: Draft) -> Iterator[Finding]:
    """Yield what is wrong between the agent files, and between them and the rest of the project."""
    yield from _names(draft)
    yield from _claims(draft)
    yield from _hosts(draft)
    yield from _instances(draft)
    yield from _dependencies(draft)
    yield from _cycles(draft)
    yield from _classes(draft)


def _names(draft: Draft) -> Iterator[Finding]:
    for service, layers in draft.layers.items():
        place = layers.place(())
        if not NAME.match(service):
            yield found(place, "bad_name", f"the file name `{service}` cannot name a service", NAME_RULE)
        elif service in RESERVED:
            yield found(place, "reserved_name", f"the mesh itself is called `{service}`", "give the file another name")


def _claims(draft: Draft) -> Iterator[Finding]:
    """Yield service names that two files claim, by their own name (capitals apart) or by `service`."""
    claims: dict[str, dict[str, None]] = defaultdict(dict)
    for service in draft.layers:
        claims[service.lower()].setdefault(service)
        source = draft.project.agents[service]
        said = source.values.get("service")
        if isinstance(said, str) and said != service:
            hint = f"remove it, or rename the file to {said}.yaml"
            message = f"`service: {said}` disagrees with the file name: the service is `{service}`"
            yield found(base_place(source)(("service",)), "service_mismatch", message, hint)
            claims[said.lower()].setdefault(service)
    for name, (first, *others) in ((name, tuple(claim)) for name, claim in claims.items()):
        for other in others:
            message = f"the service `{name}` is claimed twice, first by {draft.layers[first].place(()).file}"
            yield found(draft.layers[other].place(()), "duplicate_service", message, "give one of them another name")


def _hosts(draft: Draft) -> Iterator[Finding]:
    known = draft.config.hosts
    if not known:
        return
    for layers in draft.layers.values():
        written = layers.values.get("hosts")
        for index, host in enumerate(written if isinstance(written, list) else ()):
            if isinstance(host, str) and host not in known:
                place = layers.place(("hosts", index))
                yield found(place, "unknown_host", f"unknown host `{host}`", alike(host, tuple(known)))


def _instances(draft: Draft) -> Iterator[Finding]:
    """Yield the hosts that `instances` counts on and the agent does not run on."""
    for service, layers in draft.layers.items():
        spec = draft.config.agents[service]
        for host in spec.instances if isinstance(spec.instances, dict) else ():
            if host not in spec.hosts:
                place = layers.place(("instances", host))
                message = f"`instances` names {host}, where `{service}` does not run"
                yield found(place, "unknown_host", message, alike(host, spec.hosts) or "add it to `hosts`")


def _dependencies(draft: Draft) -> Iterator[Finding]:
    for service, layers in draft.layers.items():
        for index, edge in enumerate(draft.config.agents[service].depends_on):
            if finding := _dependency(draft, edge):
                code, message, hint = finding
                place = layers.place(("depends_on", index))
                yield found(place, code, message, hint, "note" if edge.soft else "error")


def _dependency(draft: Draft, edge: Dependency) -> tuple[str, str, str | None] | None:
    agents = draft.config.agents
    if not edge.service or edge.service in RESERVED:
        return None
    if edge.service not in agents:
        near = nearest(edge.service, agents)
        hint = f"did you mean `{near}`?" if near else f"write config/agents/{edge.service}.yaml or remove the line"
        return "unknown_dependency", f"depends on `{edge.service}`, which no file configures", hint
    if not edge.soft and edge.service in draft.layers and draft.layers[edge.service].get(("hosts",)) == []:
        return "unknown_dependency", f"depends on `{edge.service}`, which runs on no host", "mark it `soft: true`"
    return None


def _cycles(draft: Draft) -> Iterator[Finding]:
    agents = draft.config.agents
    for host in draft.config.hosts:
        for circle in cycles(hard_edges(agents, host)):
            services = [edge.service for edge in agents[circle[0]].depends_on]
            place = draft.layers[circle[0]].place(("depends_on", services.index(circle[1])))
            message = f"these agents wait for each other: {' -> '.join(circle)}"
            yield found(place, "dependency_cycle", message, "mark one of these edges `soft: true`")


def _classes(draft: Draft) -> Iterator[Finding]:
    files: list[str] | None = None
    for service, layers in draft.layers.items():
        text, spec = layers.values.get("class"), draft.config.agents[service]
        if not isinstance(text, str) or not text:
            continue
        place = layers.place(("class",))
        if not CLASS.match(text):
            hint = "write file and class, as agents/mainpc/clock.py:Clock"
            yield found(place, "invalid_value", f"`class: {text}` names no Python file and class", hint)
        elif not _is_file(spec.file):
            files = _python_files(draft.project.root) if files is None else files
            yield found(place, "missing_class", f"there is no file {text.rpartition(':')[0]}", _near_file(text, files))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the system, or with a zero byte
        return False


def _python_files(root: Path) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in (root / "agents").rglob("*.py"))


def _near_file(text: str, files: list[str]) -> str | None:
    """Return the hint: a file of that name in another folder, else the one most alike."""
    wanted = text.rpartition(":")[0]
    same = [file for file in files if Path(file).name == Path(wanted).name]
    near = same[0] if same else nearest(wanted, files)
    return f"did you mean {near}?" if near else "write the path from the project's folder"
