"""The hosts a command speaks of, and who of them runs a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.address import nearest
from mesh.config import MeshConfig
from mesh.errors import MeshError, UnknownService, UsageError

Row = dict[str, Any]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about a name that is not known: the nearest one as a question, if one is near."""
    like = nearest(name, known)
    return f"; did you mean {like}?" if like else ""


def names(config: MeshConfig, directory: Row) -> list[str]:
    """Return every host, those of `hosts.yaml` first and in its order."""
    return list(dict.fromkeys([*config.hosts, *(row["name"] for row in directory["hosts"])]))


def checked(host: str, known: list[str]) -> str:
    """Return `host`; raises `UsageError` if it is none of `known`."""
    if host not in known:
        raise UsageError(f"there is no host {host!r}, the mesh has {', '.join(known)}{did_you_mean(host, known)}")
    return host


def chosen(config: MeshConfig, directory: Row, host: str | None) -> list[str]:
    """Return the hosts of the mesh, or only `host`; raises `UsageError` for a name that is none."""
    known = names(config, directory)
    return known if host is None else [checked(host, known)]


def away(directory: Row, answers: Mapping[str, Any]) -> dict[str, str]:
    """Return the hosts whose answer is an error, each with the reason in words."""
    listed = {row["name"]: row for row in directory["hosts"]}
    return {host: _reason(host, listed.get(host), answer) for host, answer in answers.items()
            if isinstance(answer, MeshError)}


def _reason(host: str, listed: Row | None, error: MeshError) -> str:
    if listed is None:
        return f"it is configured and not running; start it with `mesh up --host {host}`"
    if listed["state"] == "ok":
        return error.message
    return f"it is {listed['state']}" + (f": {listed['reason']}" if listed["reason"] else "")


def homes(config: MeshConfig, directory: Row, service: str) -> list[str]:
    """Return the hosts that run `service` or should; raises `UnknownService` with the nearest name."""
    running = [row["host"] for row in directory["instances"] if row["service"] == service]
    spec = config.agents.get(service)
    found = list(dict.fromkeys([*running, *(spec.hosts if spec else ())]))
    if not found:
        services = {*config.agents, *(row["service"] for row in directory["instances"])}
        hint = did_you_mean(service, sorted(services)) or "; `mesh agents` lists the services there are"
        raise UnknownService(f"no host ever configured or announced a service {service}{hint}",
                             suggestion=nearest(service, services))
    return found
