"""`mesh check`: everything there is to say about the config and the agents' files; starts nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mesh.agent.settings import read_settings
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, say
from mesh.config import AgentSpec, Finding, findings
from mesh.config.draft import draft
from mesh.config.findings import arranged
from mesh.config.model import DEFAULT_ENVIRONMENT
from mesh.config.project import Project
from mesh.errors import ConfigError, LoadError
from mesh.supervisor.cell.loader import load_agent_class

LOADS_NOT = "agent_does_not_load"
SETTING = "agent_setting"

_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


def check(scope: Scope) -> int:
    """Print every finding, errors first and notes last; returns 2 if there is an error."""
    found = everything(scope.root(), scope.environment)
    errors = sum(item.severity == "error" for item in found)
    if scope.json:
        document([asdict(item) for item in found])
    else:
        _print(found, errors)
    return 2 if errors else 0


def everything(root: Path, environment: str | None) -> list[Finding]:
    """Return what there is to say about the project's files and about each agent's own."""
    return arranged([*findings(root, environment=environment), *_agent_findings(root, environment)])


def _print(found: list[Finding], errors: int) -> None:
    for item in found:
        word = coloured(item.severity, _COLOURS[item.severity])
        place = f"{item.file}:{item.line}: " if item.line else f"{item.file}: " if item.file else ""
        say(f"{clean(place)}{word}: {clean(item.message)}" + (clean(f" ({item.hint})") if item.hint else ""))
    warnings = sum(item.severity == "warning" for item in found)
    counts = [f"{number} {word}{'s' if number != 1 else ''}" for number, word in
              ((errors, "error"), (warnings, "warning")) if number]
    say(", ".join(counts) if counts else "the configuration and every agent are in order")


def _agent_findings(root: Path, environment: str | None) -> Iterator[Finding]:
    """Yield what is wrong with the agents themselves, also when the config has errors of its own."""
    current = environment or os.environ.get("MESH_ENVIRONMENT") or DEFAULT_ENVIRONMENT
    made = draft(Project.read(root), current, os.environ)
    for service in sorted(made.config.agents):
        spec = made.config.agents[service]
        if spec.class_name and spec.file.is_file():  # else the config's findings say so
            yield from _agent(made.config.root, spec)


def _agent(root: Path, spec: AgentSpec) -> Iterator[Finding]:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # an agent file that prints must not spoil the JSON
            cls = load_agent_class(spec)
    except LoadError as error:
        for told in error.details.get("findings") or [{"message": error.message, "file": str(spec.file), "line": None}]:
            yield Finding("error", LOADS_NOT, _relative(root, told["file"] or str(spec.file)), told["line"],
                          told["message"])
        return
    try:
        read_settings(cls, spec.service, spec.settings)
    except ConfigError as error:
        for told in error.details.get("findings", []):
            yield _setting(root, spec, told["key"], f"{spec.service}: {told['message']}")


def _setting(root: Path, spec: AgentSpec, key: str, message: str) -> Finding:
    """Return the finding about one setting, at the line where it or what is around it was written."""
    steps = key.replace("[", ".").split(".")
    origins = (spec.origin.get(".".join(["settings", *steps[:length]])) for length in range(len(steps), 0, -1))
    origin = next((text for text in origins if text), "")
    file, _, number = origin.rpartition("(")[2].rstrip(")").rpartition(":")
    if file and number.isdigit():
        return Finding("error", SETTING, file, int(number), message)
    return Finding("error", SETTING, _relative(root, str(spec.config_file)), None,
                   f"{origin}: {message}" if origin else message)


def _relative(root: Path, file: str) -> str:
    path = Path(file)
    return str(path.relative_to(root)) if path.is_relative_to(root) else file
