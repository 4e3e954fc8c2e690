"""Operations compiled once when their class is loaded: from a signature to one validation per call.

What arrives is validated against the declared types and bound to keyword arguments; what is returned is validated and
encoded. The rules of types are those of `mesh.agent.annotation`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import CodeType
from typing import Any, NotRequired

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict  # pydantic refuses the one of typing before Python 3.12

from mesh.address import NAME, nearest
from mesh.agent.annotation import checked, text_of
from mesh.agent.caching import Cache
from mesh.agent.marked import compile_each
from mesh.agent.mismatch import Mismatch, mismatches, shown
from mesh.agent.operation import OPERATION, OperationSpec
from mesh.agent.prompt import never_waits
from mesh.agent.signature import Signature, read_signature
from mesh.errors import InvalidArgument, InvalidResult
from mesh.message import encode

RESERVED = frozenset({
    "setup", "teardown", "check", "on_config", "request", "publish", "peer", "options", "report", "run", "stream",
})
_FRAMEWORK = __name__.rpartition(".")[0]
_TOLD = 3


@dataclass(frozen=True)
class Operation:
    """One thing a service can be asked to do, ready to be called: `method(**bind(values))`, then `encode_result`.

    Of one that `streams` each item is a result; one that is `prompt` never waits, as its `code` shows.
    """

    name: str
    idempotent: bool
    max_body: int
    sync: bool
    streams: bool
    code: CodeType
    prompt: bool
    doc: str
    signature: Signature
    cache: Cache | None
    _arguments: TypeAdapter[dict[str, Any]] = field(repr=False)
    _result: TypeAdapter[Any] = field(repr=False)
    _validate_arguments: Callable[[Any], dict[str, Any]] = field(repr=False)
    _validate_result: Callable[[Any], Any] = field(repr=False)

    def bind(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for the method; absent ones keep their defaults.

        Raises `InvalidArgument` that names the argument, what was expected and what was found.
        """
        try:
            return self._validate_arguments(values)
        except ValidationError as error:
            raise self._invalid(values, error) from None

    def encode_result(self, value: Any) -> bytes:
        """Return the result as it travels; raises `InvalidResult` when it is not what the operation declares."""
        try:
            return encode(self._validate_result(value), name="result")
        except ValidationError as error:
            raise self._invalid_result(value, error) from None
        except InvalidArgument as error:
            raise InvalidResult(f"{self.name} {self._gave} what may not travel: {error.message}") from None

    @cached_property
    def arguments_schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments, with their defaults."""
        schema = self._arguments.json_schema()
        schema.pop("title", None)
        for parameter in self.signature.parameters:
            if not parameter.required:
                schema["properties"][parameter.name]["default"] = to_jsonable_python(parameter.default, fallback=repr)
        return schema

    @cached_property
    def result_schema(self) -> dict[str, Any]:
        """The JSON schema of the result."""
        return self._result.json_schema(mode="serialization", by_alias=False)

    def describe(self) -> dict[str, Any]:
        """Return everything a caller needs to know, as plain values."""
        return {
            "name": self.name, "doc": self.doc, "signature": self.signature.text,
            "returns": text_of(self.signature.returns), "stream": self.streams, "idempotent": self.idempotent,
            "cache": None if self.cache is None else self.cache.trait(),
            "max_body": self.max_body, "arguments": self.arguments_schema, "result": self.result_schema,
        }

    def traits(self) -> dict[str, Any]:
        """Return what a caller's host must know of it; empty for a plain one."""
        told: dict[str, Any] = {"idempotent": True} if self.idempotent else {}
        if self.cache is not None:
            told["cache"] = self.cache.trait()
        return told

    @property
    def _gave(self) -> str:
        return "yielded" if self.streams else "returned"

    def _invalid(self, values: Any, error: ValidationError) -> InvalidArgument:
        if not isinstance(values, dict):
            return InvalidArgument(
                f"{self.name}: expected a map of arguments, found {shown('', values)}; call {self.signature.text}",
                path="arguments",
            )
        found = mismatches(error, values)
        told = "; ".join(self._complaint(mismatch) for mismatch in found[:_TOLD])
        more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        return InvalidArgument(f"{self.name}: {told}{more}; call {self.signature.text}", path=found[0].path)

    def _complaint(self, mismatch: Mismatch) -> str:
        declared = {parameter.name: parameter for parameter in self.signature.parameters}
        known = declared.get(mismatch.name)
        if known is None:
            like = nearest(mismatch.path, declared)
            hint = f", did you mean '{like}'?" if like else ""
            return f"there is no argument '{mismatch.path}'{hint}"
        expected = text_of(known.annotation)
        if mismatch.path == known.name:
            if mismatch.kind == "missing":
                return f"argument '{known.name}' is missing, expected {expected}"
            return f"argument '{known.name}': expected {expected}, found {mismatch.found}: {mismatch.complaint}"
        if mismatch.kind == "missing":
            return f"argument '{mismatch.path}' is missing, expected as part of {expected}"
        if mismatch.kind == "extra_forbidden":
            return f"argument '{mismatch.path}' is not known in {expected}"
        return f"argument '{mismatch.path}' of {expected}: found {mismatch.found}: {mismatch.complaint}"

    def _invalid_result(self, value: Any, error: ValidationError) -> InvalidResult:
        expected = text_of(self.signature.returns)
        found = mismatches(error, value)[0]
        if not found.path:
            return InvalidResult(f"{self.name} {self._gave} {found.found}, expected {expected}: {found.complaint}")
        if found.kind == "missing":
            return InvalidResult(f"{self.name} {self._gave} {expected} without its field '{found.path}'")
        where = f"{self.name} {self._gave} {expected} whose '{found.path}'"
        return InvalidResult(f"{where} is {found.found}: {found.complaint}")


def compile_operations(cls: type) -> dict[str, Operation]:
    """Return the operations of an agent class by name; raises one `LoadError` that tells every misfit."""
    compiled = {operation.name: operation for operation in compile_each(cls, OPERATION, _compile)}
    for operation in compiled.values():
        _check_dependencies(operation, compiled)
    return compiled


def adapter_of(signature: Signature, annotation: Any, subject: str) -> TypeAdapter[Any]:
    """Return the validator of one declared type; raises `LoadError` for a type that may not travel."""
    try:
        return TypeAdapter(checked(annotation))
    except (PydanticUserError, NameError, TypeError) as error:
        # pydantic's own advice for a type it does not know would only hide the mistake until the first call
        reason = "" if isinstance(error, PydanticSchemaGenerationError) else f" ({str(error).splitlines()[0]})"
        raise signature.refuse(
            f"{subject} is declared as {text_of(annotation)}, which may not travel{reason}",
            "plain values, bytes, numpy arrays, datetimes, paths, enums, or pydantic models of these",
        ) from None


def _compile(cls: type, name: str, function: Callable[..., Any], spec: OperationSpec) -> Operation:
    signature = read_signature(cls, name, function, may_stream=True)
    _check_name(cls, signature)
    arguments = _arguments_adapter(signature)
    _check_defaults(signature, arguments)
    result = adapter_of(signature, signature.returns, "the result")
    _check_cache(signature, spec.cache)
    return Operation(
        name=name, idempotent=spec.idempotent, max_body=spec.max_body, sync=signature.sync, streams=signature.streams,
        code=function.__code__, prompt=not signature.sync and not signature.streams and never_waits(function),
        doc=inspect.cleandoc(function.__doc__ or ""), signature=signature, cache=spec.cache,
        _arguments=arguments, _result=result,
        _validate_arguments=arguments.validator.validate_python, _validate_result=result.validator.validate_python,
    )


def _arguments_adapter(signature: Signature) -> TypeAdapter[dict[str, Any]]:
    """Return the validator of all arguments: a TypedDict, since its fields may have any name and stay a plain dict."""
    make: Any = TypedDict  # the fields are known at run time only
    try:
        arguments = make(signature.name, {
            parameter.name: checked(parameter.annotation) if parameter.required
            else NotRequired[checked(parameter.annotation)]
            for parameter in signature.parameters
        })
        arguments.__pydantic_config__ = ConfigDict(extra="forbid")
        return TypeAdapter(arguments)
    except (PydanticUserError, NameError, TypeError):
        for parameter in signature.parameters:  # one by one, to name the culprit
            adapter_of(signature, parameter.annotation, f"parameter '{parameter.name}'")
        raise


def _check_name(cls: type, signature: Signature) -> None:
    name = signature.name
    if not NAME.match(name):
        raise signature.refuse(
            f"'{name}' is no name for an operation", "a lower-case letter, then up to 62 letters, digits or underscores"
        )
    bases = [base for base in cls.__mro__ if _is_framework(base)]  # none: a host's own operations, all names are free
    owner = next((base.__name__ for base in bases if _names(base, name)), None)
    reserved = bool(bases) and name in RESERVED
    if reserved or owner:
        raise signature.refuse(
            f"'{name}' is taken: every agent has it" if reserved else f"'{name}' is taken by {owner}.{name}",
            f"another name, such as {name}_now; not one of {', '.join(sorted(RESERVED))}",
        )


def _check_cache(signature: Signature, cache: Cache | None) -> None:
    """Raise `LoadError` for kept answers of a stream, and for a key of arguments that there are not."""
    if cache is None:
        return
    if signature.streams:
        raise signature.refuse("the items of a stream are not kept", "no cache, or a list as the result")
    names = [parameter.name for parameter in signature.parameters]
    for name in cache.key or ():
        if name not in names:
            raise signature.refuse(f"its answers are kept by the argument '{name}', which it does not have",
                                   f"key= some of {', '.join(names) or 'no argument at all'}")


def _check_dependencies(operation: Operation, known: dict[str, Operation]) -> None:
    """Raise `LoadError` if kept answers depend on an operation of the same service that there is not."""
    for name in operation.cache.depends_on if operation.cache is not None else ():
        if "." not in name and name not in known:
            like = nearest(name, known)
            raise operation.signature.refuse(
                f"its answers depend on '{name}', which is no operation of it"
                + (f", did you mean '{like}'?" if like else ""),
                "the name of an operation of this class, or `service.operation` of another service",
            )


def _check_defaults(signature: Signature, arguments: TypeAdapter[dict[str, Any]]) -> None:
    defaults = {item.name: item.default for item in signature.parameters if not item.required}
    try:
        arguments.validator.validate_python(defaults)
    except ValidationError as error:
        lines = error.errors(include_url=False)
        wrong = {line["loc"][0] for line in lines if line["type"] != "missing" or len(line["loc"]) > 1}
        for parameter in signature.parameters:
            if parameter.name in wrong:
                declared = text_of(parameter.annotation)
                raise signature.refuse(
                    f"the default of parameter '{parameter.name}' is {parameter.default!r}, which is not {declared}",
                    f"a default of that type, or {parameter.name}: {declared} | None = None",
                ) from None


def _is_framework(base: type) -> bool:
    return base.__module__.startswith(f"{_FRAMEWORK}.")


def _names(base: type, name: str) -> bool:
    return name in vars(base) or name in inspect.get_annotations(base)


