"""A row per value that may be changed of an agent: in force, where it came from, what the file says, the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from mesh.config import AgentSpec, Limits, RestartsConfig, Rules, override_key

Row = dict[str, Any]
Schema = Mapping[str, Any]

HIDDEN = "**********"


def setting_rows(spec: AgentSpec, filed: AgentSpec, settings: Mapping[str, Any], schema: Schema) -> list[Row]:
    """Return the rows of settings, limits, restarts, isolation and instances.

    `spec` is in force, `filed` is what files and environment say, `settings` are those the agent runs with and `schema`
    is that of its `Config`. A row has `key`, `value`, `origin`, `default` (None where there is none), `override`, and
    `file` with value and origin, None where no file or variable says anything.
    """
    rows = [_row(spec, filed, ("settings", *path), value, default)
            for path, value, default in _leaves(schema, schema.get("$defs", {}), settings, ())]
    for section, values, defaults in (("limits", spec.limits, Limits()), ("restarts", spec.restarts, RestartsConfig())):
        rows += [_row(spec, filed, (section, name), value, getattr(defaults, name)) for name, value in values]
    return [*rows, *(_row(spec, filed, (name,), getattr(spec, name), AgentSpec.model_fields[name].default)
                     for name in ("restart", "isolation", "instances"))]


def policy_rows(spec: AgentSpec, filed: AgentSpec, rules: Rules, mesh_wide: Mapping[str, str]) -> list[Row]:
    """Return the rows of the policies around all calls of a service, and of what is said for single operations.

    `rules` are in force, `mesh_wide` has the origin of what `hosts.yaml` says, by key.
    """
    rows, defaults = [], Rules()
    for policy, rule in rules:
        usual = getattr(defaults, policy)
        if isinstance(rule, BaseModel):
            rows += [_row(spec, filed, ("policies", policy, key), value, getattr(usual, key, None))
                     for key, value in rule]
        else:
            rows.append(_row(spec, filed, ("policies", policy), rule, None if isinstance(usual, BaseModel) else usual))
    for row in rows:
        if row["origin"] == "default":
            row["origin"] = mesh_wide.get(row["key"]) or mesh_wide.get(row["key"].rpartition(".")[0]) or "default"
    said = spec.policies.model_dump(exclude_unset=True)
    return rows + [_row(spec, filed, path, _at({"policies": said}, path), None)
                   for path in (tuple(key.split(".")) for key in spec.origin if key.startswith("policies.operations."))]


def unknown_name(schema: Schema, path: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the first name of a setting's path that its section does not declare, and those it does."""
    section: Schema | None = schema
    for step in path:
        if section is None or "properties" not in section:
            return None  # a map of any keys, or no schema at all
        if step not in section["properties"]:
            return None if section.get("additionalProperties") else (step, sorted(section["properties"]))
        section = _section(section["properties"][step], schema.get("$defs", {}))
    return None


def _row(spec: AgentSpec, filed: AgentSpec, path: tuple[str, ...], value: Any, default: Any) -> Row:
    key = ".".join(path)
    origin, written = _origin(spec, key), _origin(filed, key)
    secret = value == HIDDEN
    return {
        "key": override_key(key), "value": value, "origin": origin, "override": origin == "override",
        "default": HIDDEN if secret and default else default,
        "file": None if written == "default" else
        {"value": HIDDEN if secret else _at(filed.model_dump(), path), "origin": written},
    }


def _origin(spec: AgentSpec, key: str) -> str:
    """Return where the value of a key, or the first inside it, or one around it, came from."""
    steps = key.split(".")
    around = (".".join(steps[:length]) for length in range(len(steps), 0, -1))
    inside = (text for known, text in spec.origin.items() if known.startswith(f"{key}."))
    return next((spec.origin[known] for known in around if known in spec.origin), None) or next(inside, "default")


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        values = values.get(step) if isinstance(values, Mapping) else None
    return values


def _leaves(schema: Schema, definitions: Mapping[str, Schema], values: Any, path: tuple[str, ...]
            ) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield path, value in force and declared default of every setting; a section of the `Config` is gone into."""
    known = schema.get("properties", {})
    given = values if isinstance(values, Mapping) else {}
    for name in dict.fromkeys([*known, *given]):
        declared = known.get(name, {})
        default = declared.get("default")
        value = given.get(name, default)
        section = _section(declared, definitions)
        if section is not None and isinstance(value, Mapping):
            filled = {**section, "properties": _filled(section, default)}
            yield from _leaves(filled, definitions, value, (*path, name))
        else:
            yield (*path, name), value, default


def _section(declared: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    """Return the schema of a section with keys of its own, None for a single value or a map of any keys."""
    for option in (declared, *declared.get("anyOf", ()), *declared.get("allOf", ())):
        found: Schema = definitions.get(str(option.get("$ref", "")).rpartition("/")[2], option)
        if "properties" in found:
            return found
    return None


def _filled(section: Schema, default: Any) -> dict[str, Any]:
    """Return a section's properties, with the defaults that the field of the section itself declares."""
    over = default if isinstance(default, Mapping) else {}
    return {name: {**declared, **({"default": over[name]} if name in over else {})}
            for name, declared in section["properties"].items()}
