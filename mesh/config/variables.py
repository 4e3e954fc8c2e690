"""Environment variables that set what the files set: `MESH_AGENTS__MODEL_MANAGER__SETTINGS__TIMEOUT=10`.

The name is the path of a key, in capitals, its steps parted by two underscores, after `MESH_`. The value is read as
one YAML value: `10` is a number, `"10"` a text; `[...]` and `{...}` are read as YAML lists and mappings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.address import nearest
from mesh.config.findings import Finding, Place, Severity, found
from mesh.config.schema import AgentSection, HostsSection
from mesh.config.source import KeyPath, Source, scalar
from mesh.config.validation import keys_at

PREFIX = "MESH_"
STEP = "__"

VARIABLES: Mapping[str, str] = {
    "MESH_ENVIRONMENT": "The environment, when `--environment` is not given; `development` without both.",
    "MESH_HOME": "The folder for state, logs, sockets and keys; relative to the project. Default: `.mesh`.",
    "MESH_LOOP": "The event loop of hosts and registry, `uvloop` or `asyncio`; uvloop without it, where installed.",
}


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable that sets the key at `path` (`agents, <service>, ...` or a path of `config/hosts.yaml`)."""

    name: str
    path: KeyPath
    value: Any

    def place(self, _: KeyPath = ()) -> Place:
        """Return what findings and origins call it."""
        return Place(f"env {self.name}")

    def nested(self, skip: int = 0) -> dict[str, Any]:
        """Return the value inside a mapping for each step of its path after the first `skip`."""
        value = self.value
        for step in reversed(self.path[skip:]):
            value = {str(step): value}
        return dict(value)


class Known:
    """Which paths there are to set: those of the schema, for the hosts and services of the files."""

    def __init__(self, hosts: Iterable[str], settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._hosts = tuple(hosts)
        self._settings = settings

    def options(self, path: KeyPath) -> tuple[str, ...]:
        """Return the steps that may follow `path`."""
        if not path:
            return (*keys_at(HostsSection, ()), "agents")
        if path == ("hosts",):
            return self._hosts
        if path[0] != "agents":
            return keys_at(HostsSection, path)
        if len(path) == 1:
            return tuple(self._settings)
        if self.is_free(path):
            return self._written(path)
        return keys_at(AgentSection, path[2:])

    def is_free(self, path: KeyPath) -> bool:
        """Tell whether any name may follow `path`: what settings there are, only the agent's class knows."""
        return path[:1] == ("agents",) and path[2:3] == ("settings",)

    def is_value(self, path: KeyPath) -> bool:
        """Tell whether `path` is one key to set and not a section of keys."""
        if self.is_free(path):
            return True
        return path not in ((), ("hosts",), ("agents",)) and not self.options(path)

    def _written(self, path: KeyPath) -> tuple[str, ...]:
        values: Any = self._settings[str(path[1])]
        for step in path[3:]:
            values = values.get(step) if isinstance(values, Mapping) else None
        return tuple(values) if isinstance(values, Mapping) else ()


def read(environ: Mapping[str, str], known: Known) -> tuple[list[Variable], list[Finding]]:
    """Return what the variables set, and a finding for each that sets nothing known or has no value."""
    variables: list[Variable] = []
    findings: list[Finding] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in VARIABLES:
            continue
        steps = list(_steps(name.removeprefix(PREFIX), known))
        path = tuple(step for step, _ in steps)
        if None in path or not known.is_value(path):
            findings.append(_unknown(name, steps, known))
            continue
        try:
            variables.append(Variable(name, path, value_of(environ[name])))
        except ValueError as error:
            findings.append(found(Place(f"env {name}"), "invalid_value", str(error), "put a text in quotes"))
    return variables, findings


def _steps(rest: str, known: Known) -> Iterator[tuple[Any, str]]:
    """Yield each step with the text it was written as; a step that is not known is None, with all that is left."""
    path: KeyPath = ()
    while rest:
        step, text, rest = _take(rest, known.options(path))
        if step is None and known.is_free(path):
            text, _, rest = text.partition(STEP)
            step = text.lower() or None
        if step is None:
            yield None, f"{text}{STEP}{rest}" if rest else text
            return
        yield step, text
        path = (*path, step)


def _take(rest: str, options: Iterable[str]) -> tuple[str | None, str, str]:
    """Return the longest option that `rest` begins with, its text, and what follows it."""
    for option in sorted(options, key=len, reverse=True):
        text = rest[: len(option)]
        if text.upper() == option.upper() and (len(rest) == len(option) or rest[len(option) :].startswith(STEP)):
            return option, text, rest[len(option) + len(STEP) :]
    return None, rest, ""


def _unknown(name: str, steps: list[tuple[Any, str]], known: Known) -> Finding:
    """Say what the variable could have meant. Without `__` it may be another program's: then it is no error."""
    place = Place(f"env {name}")
    severity: Severity = "error" if STEP in name.removeprefix(PREFIX) else "warning"
    path = tuple(step for step, _ in steps if step is not None)
    options = [option.upper() for option in known.options(path)]
    if not path:
        options += [variable.removeprefix(PREFIX) for variable in VARIABLES]
    if steps and steps[-1][0] is not None:
        message = f"names the section {_dots(path)}, not a key"
        return found(place, "unknown_variable", message, _listed("name one of", options), severity)
    wrong, parted, after = steps[-1][1].partition(STEP) if steps else ("", "", "")
    near = nearest(wrong.upper(), options)
    before = PREFIX + "".join(f"{text}{STEP}" for step, text in steps if step is not None)
    hint = f"did you mean {before}{near}{parted}{after}?" if near else _listed("known", options)
    message = f"sets nothing known: there is no `{wrong.lower()}`" + (f" in {_dots(path)}" if path else "")
    return found(place, "unknown_variable", message, hint, severity)


def _listed(word: str, options: list[str]) -> str | None:
    return f"{word}: {', '.join(options)}" if options else None


def _dots(path: KeyPath) -> str:
    return ".".join(map(str, path))


def value_of(text: str) -> Any:
    """Return the YAML value of `text`; raises ValueError."""
    brackets = text.strip()[:1] + text.strip()[-1:]
    if brackets not in ("[]", "{}", '""', "''"):
        return scalar(text)
    source = Source("value", f"value: {text}")
    if source.findings:
        raise ValueError(str(source.findings[0].message))
    return source.values["value"]
