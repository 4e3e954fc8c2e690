"""What each operation of the registry takes, as models; what does not fit is refused by name."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mesh.errors import InvalidArgument, ProtocolError
from mesh.message import decode
from mesh.records import HostRecord, InstanceRecord

MAX_INSTANCES = 200_000
"""Instances a host may announce; twice what the directory is measured with."""


class Arguments(BaseModel):
    """Arguments of an operation that takes none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Announce(Arguments):
    """A host and everything it offers, as rows."""

    host: dict[str, Any]
    instances: list[dict[str, Any]] = Field(max_length=MAX_INSTANCES)

    def records(self) -> tuple[HostRecord, list[InstanceRecord]]:
        """Return the rows as records; raises `InvalidArgument` naming the row that is none."""
        path = "host"
        try:
            host = HostRecord.from_wire(self.host)
            instances = []
            for index, row in enumerate(self.instances):
                path = f"instances[{index}]"
                instances.append(InstanceRecord.from_wire(row))
        except ProtocolError as error:
            raise InvalidArgument(f"{path}: {error}", path=path) from None
        return host, instances


class Withdraw(Arguments):
    """The incarnation that stops."""

    incarnation: int


class Sync(Arguments):
    """Where a host stands: its incarnation, the table it has, and a hash of what it offers."""

    incarnation: int
    epoch: int
    revision: int
    hash: bytes


class SetDesired(Arguments):
    """What an operator wants of a service on a host."""

    service: str
    host: str
    desired: str


class SetOverride(Arguments):
    """A setting an operator changes."""

    service: str
    key: str
    value: Any


class UnsetOverride(Arguments):
    """A setting that is again what its config says."""

    service: str
    key: str


Model = TypeVar("Model", bound=Arguments)


def parse(model: type[Model], target: str, body: bytes) -> Model:
    """Return the arguments of a call to `target`; raises `InvalidArgument` saying what is wrong with which."""
    try:
        given = decode(body) if body else {}
    except ProtocolError as error:
        raise InvalidArgument(f"{target}: the arguments do not decode: {error}", path="arguments") from None
    if not isinstance(given, dict):
        raise InvalidArgument(f"{target}: the arguments are {type(given).__name__}, expected a map", path="arguments")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"])) or "arguments"
        if first["type"] == "missing":
            words = "is missing"
        elif first["type"] == "extra_forbidden":
            words = f"is not known; it takes {', '.join(model.model_fields) or 'no arguments'}"
        else:
            words = f"does not fit: {first['msg']}, found {first['input']!r:.60}"
        raise InvalidArgument(f"{target}: argument {path} {words}", path=path) from None
