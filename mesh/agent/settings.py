"""The settings of an agent: what config may say about it, read once into one frozen model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError

from mesh.address import nearest
from mesh.agent.annotation import text_of
from mesh.agent.misfit import misfit
from mesh.agent.mismatch import Mismatch, mismatches
from mesh.errors import ConfigError


class AgentConfig(BaseModel):
    """Base of an agent's `Config`: frozen, and a key it does not declare is an error.

    A relative `Path` is resolved below the folder of the service.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)


def config_class(cls: type) -> type[AgentConfig]:
    """Return the `Config` of an agent class; raises `LoadError` when it is not derived from `AgentConfig`."""
    config = getattr(cls, "Config", AgentConfig)
    if not (isinstance(config, type) and issubclass(config, AgentConfig)):
        raise misfit(f"{cls.__name__}.Config", f"Config = {text_of(config)}", "it is not derived from AgentConfig",
                     "class Config(AgentConfig): with a type for each setting", config)
    return config


def settings_schema(cls: type) -> dict[str, Any]:
    """Return the JSON schema of an agent's `Config`; empty when one of its types has none."""
    try:
        return config_class(cls).model_json_schema()
    except PydanticUserError:
        return {}


def read_settings(cls: type, service: str, settings: Mapping[str, Any], folder: Path | None = None) -> AgentConfig:
    """Return the settings of `service` as the agent's `Config`, relative paths resolved below `folder` if given.

    Raises `ConfigError` that names each key, what was expected, what was found, and the nearest right name.
    """
    config = config_class(cls)
    try:
        read = config.model_validate(dict(settings))
    except ValidationError as error:
        told = [_complaint(config, mismatch) for mismatch in mismatches(error, settings)]
        findings = [{"key": each.path, "message": text}
                    for each, text in zip(mismatches(error, settings), told, strict=True)]
        raise ConfigError("\n".join(f"{service}: {text}" for text in told), findings=findings) from None
    return read if folder is None else _resolved(read, folder)


def _complaint(config: type[AgentConfig], mismatch: Mismatch) -> str:
    owner = _owner(config, mismatch.path)
    if mismatch.kind == "extra_forbidden":
        known = sorted(owner.model_fields)
        like = nearest(mismatch.last, known)
        hint = f", did you mean '{like}'?" if like else f"; known are: {', '.join(known) or 'none'}"
        return f"there is no setting '{mismatch.path}' (found {mismatch.found}){hint}"
    declared = owner.model_fields.get(mismatch.last)
    expected = text_of(declared.annotation) if declared else "another value"
    if mismatch.kind == "missing":
        return f"setting '{mismatch.path}' is missing, expected {expected}"
    return f"setting '{mismatch.path}': expected {expected}, found {mismatch.found}: {mismatch.complaint}"


def _owner(config: type[AgentConfig], path: str) -> type[BaseModel]:
    """Return the model that has the last name of `path`: the config itself or a section of it."""
    owner: type[BaseModel] = config
    for name in path.split(".")[:-1]:
        declared = owner.model_fields.get(name.partition("[")[0])
        sections = [part for part in _parts(declared.annotation if declared else None) if issubclass(part, BaseModel)]
        if not sections:
            return owner
        owner = sections[0]
    return owner


def _parts(annotation: Any) -> list[type]:
    """Return the classes an annotation is built of."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return [annotation]
    return [part for argument in getattr(annotation, "__args__", ()) for part in _parts(argument)]


def _resolved(value: Any, folder: Path) -> Any:
    """Return `value` with every relative path in it below `folder`."""
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, BaseModel):
        return value.model_copy(update={
            name: _resolved(getattr(value, name), folder) for name in type(value).model_fields
        })
    if isinstance(value, dict):
        return {key: _resolved(item, folder) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_resolved(item, folder) for item in value)
    return value
