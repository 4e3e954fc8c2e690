"""What is wrong, or worth knowing, about a configuration: every finding with file, line and the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mesh.errors import ConfigError

Severity = Literal["error", "warning", "note"]

RANK: Mapping[str, int] = {"error": 0, "warning": 1, "note": 2}

CODES: Mapping[str, str] = {
    "unreadable": "a file or folder cannot be read, is too large or is not UTF-8",
    "syntax": "the text is not YAML, or uses a part of YAML that is not allowed here",
    "duplicate_key": "a key stands twice in one mapping",
    "unknown_key": "a key that does not exist",
    "missing_key": "a key that must be written is not",
    "wrong_type": "a value of another type than the key takes",
    "invalid_value": "a value of the right type that the key does not take",
    "bad_name": "a name that a mesh, host or service cannot have",
    "reserved_name": "a service name that the mesh keeps for itself",
    "service_mismatch": "`service` says another name than the file",
    "duplicate_service": "two agent files claim one service name",
    "ignored_file": "a file in `config/agents` that is not read",
    "no_agents": "there is no agent file",
    "unknown_host": "a host that `config/hosts.yaml` does not list",
    "unknown_environment": "an environment that `config/hosts.yaml` does not list",
    "unknown_variable": "an environment variable that sets nothing known",
    "unknown_dependency": "`depends_on` names a service that no file configures",
    "unknown_member": "a restart group has a service that no file configures",
    "double_member": "an agent is in two restart groups",
    "scattered_group": "a restart group lies on several hosts, each of which restarts only its own members together",
    "dependency_cycle": "agents that wait for each other in a circle",
    "duplicate_port": "one port used twice on one address",
    "missing_class": "the Python file that `class` names does not exist",
    "no_peer_key": "a host on the network whose public key is not known",
    "security_none": "the mesh runs without encryption and without keys",
    "stale_override": "the registry keeps a setting for a service that no file configures",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written; `origin` is the text `mesh describe` shows for it."""

    origin: str
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to correct or to know; `file` is relative to the project, None for an environment variable."""

    severity: Severity
    code: str
    file: str | None
    line: int | None
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.message}" + (f" ({self.hint})" if self.hint else "")


def found(place: Place, code: str, message: str, hint: str | None = None, severity: Severity = "error") -> Finding:
    """Return the finding about the value written at `place`."""
    text = message if place.file else f"{place.origin}: {message}"
    return Finding(severity, code, place.file, place.line, text, hint)


def arranged(findings: Iterable[Finding]) -> list[Finding]:
    """Return `findings` without repetitions, errors first, then in the order of files and lines."""
    return sorted(
        dict.fromkeys(findings),
        key=lambda item: (RANK[item.severity], item.file or "", item.line or 0, item.code, item.message),
    )


def refusal(findings: Iterable[Finding]) -> ConfigError | None:
    """Return the error that lists every finding of severity `error`, or None if there is none."""
    errors = [item for item in arranged(findings) if item.severity == "error"]
    if not errors:
        return None
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return ConfigError("\n".join([f"the configuration has {count}:", *(f"  {item}" for item in errors)]))
