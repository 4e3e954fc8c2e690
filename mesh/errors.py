"""Every error the mesh raises, in one tree.

An error that can cross the wire has a `code`; its class says whose fault it was, whether trying again can help, and
which details it carries. `from_wire` rebuilds the class on the caller's side from code, message and details, so a
local and a remote failure look alike and no traceback keeps a callee's objects alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

Fault = Literal["caller", "callee", "mesh", "operator"]

ALWAYS = ("began", "through")
"""Details that an error of any code may carry: whether its call was begun, and which call it passes on the error of."""


class MeshError(Exception):
    """Root of every error of the mesh.

    `message` is for people: what was asked, what was found, what to do next. `details` holds what `carries` names.
    `exit_code` is what a command ends with, `http_status` what one who asked over HTTP is told. Each code has its
    section in docs/errors.md.
    `asked` is the `service.operation` that answered with it, empty for an error that no call ended with.
    """

    code: ClassVar[str] = ""
    fault: ClassVar[Fault] = "mesh"
    retryable: ClassVar[bool] = False
    carries: ClassVar[tuple[str, ...]] = ()
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    asked: str = ""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = str(message)  # an agent may well have put another exception there
        self.details: dict[str, Any] = details

    def __str__(self) -> str:
        return self.message


class UnknownService(MeshError):
    """No host ever configured or announced a service of this name."""

    code = "unknown_service"
    fault = "caller"
    carries = ("suggestion",)
    http_status = 404


class UnknownOperation(MeshError):
    """The service is there, but has no operation of this name."""

    code = "unknown_operation"
    fault = "caller"
    carries = ("suggestion",)
    http_status = 404


class Unavailable(MeshError):
    """The service is known, but no instance of it can take a call now; the call never began."""

    code = "unavailable"
    retryable = True
    carries = ("retry_after",)
    http_status = 503


class Unreachable(MeshError):
    """The host of the chosen instance cannot be reached from here; `began` says what is known of the call."""

    code = "unreachable"
    retryable = True
    carries = ("began",)
    http_status = 502


class InvalidArgument(MeshError):
    """An argument is missing, unknown, or not of the declared type; `path` names it."""

    code = "invalid_argument"
    fault = "caller"
    carries = ("path",)
    http_status = 400


class InvalidResult(MeshError):
    """The operation returned something else than it declares."""

    code = "invalid_result"
    fault = "callee"


class Overloaded(MeshError):
    """A queue on the way is full; the call never began."""

    code = "overloaded"
    retryable = True
    carries = ("retry_after",)
    http_status = 503


class RateLimited(MeshError):
    """The caller has used up its share for now; the call never began."""

    code = "rate_limited"
    fault = "caller"
    retryable = True
    carries = ("retry_after",)
    http_status = 429


class CircuitOpen(MeshError):
    """The breaker in front of the instance is open after repeated failures; the call never began."""

    code = "circuit_open"
    retryable = True
    carries = ("retry_after",)
    http_status = 503


class DeadlineExceeded(MeshError):
    """The answer did not come in time; `began` says whether the work was started."""

    code = "deadline_exceeded"
    carries = ("began",)
    exit_code = 4
    http_status = 504


class Cancelled(MeshError):
    """The call was cancelled: by its caller, or by a host that stops."""

    code = "cancelled"
    http_status = 499  # nginx's "client closed request", for which HTTP has no number


class RemoteFailure(MeshError):
    """The operation raised; `type` is the exception's class and `error_id` its place on the error bus."""

    code = "remote_failure"
    fault = "callee"
    carries = ("type", "error_id")


class CallCycle(MeshError):
    """The call would enter an operation that is already waiting in the same call path, or go past 16 hops."""

    code = "call_cycle"
    fault = "caller"
    carries = ("path",)
    http_status = 508


class PermissionDenied(MeshError):
    """A rule forbids this caller this operation."""

    code = "permission_denied"
    fault = "caller"
    carries = ("rule",)
    http_status = 403


class MessageTooLarge(MeshError):
    """A body or header is over its limit and was not sent."""

    code = "message_too_large"
    fault = "caller"
    carries = ("size", "limit")
    http_status = 413


class ProtocolError(MeshError):
    """Bytes from a peer are not what the protocol allows, or the peer speaks another version or mesh."""

    code = "protocol_error"
    http_status = 502


class EngineMissing(MeshError):
    """An optional engine is not installed or not configured; `command` is what to run or set."""

    code = "engine_missing"
    fault = "operator"
    carries = ("command",)
    http_status = 501


WIRE_ERRORS: Mapping[str, type[MeshError]] = {
    error.code: error
    for error in (
        UnknownService,
        UnknownOperation,
        Unavailable,
        Unreachable,
        InvalidArgument,
        InvalidResult,
        Overloaded,
        RateLimited,
        CircuitOpen,
        DeadlineExceeded,
        Cancelled,
        RemoteFailure,
        CallCycle,
        PermissionDenied,
        MessageTooLarge,
        ProtocolError,
        EngineMissing,
    )
}


class ConfigError(MeshError):
    """The configuration cannot be used; the message lists every finding with file and line."""

    fault = "operator"
    exit_code = 2


class LoadError(MeshError):
    """An agent file cannot be loaded; the message says what was declared, what was found and what to do."""

    fault = "operator"
    exit_code = 2


class UsageError(MeshError):
    """A command was called in a way that cannot work."""

    fault = "operator"
    exit_code = 2
    http_status = 400


class StartError(MeshError):
    """A host or the registry cannot start: a port is taken, a folder not writable, a key missing, a name in use."""

    fault = "operator"
    exit_code = 2


class StoreError(MeshError):
    """A local store (state, errors, desired state) cannot be read or written."""


class MeshUnreachable(MeshError):
    """No host of the mesh answered."""

    exit_code = 3
    http_status = 503


def from_wire(code: str, message: str, details: Mapping[str, Any]) -> MeshError:
    """Return the error a peer sent; a code this version does not know becomes `RemoteFailure` of that type."""
    known = WIRE_ERRORS.get(code)
    if known is None:
        known, details = RemoteFailure, {**details, "type": code}
    return known(message, **{key: value for key, value in details.items() if key in known.carries or key in ALWAYS})


def raised_by(error: MeshError) -> MeshError:
    """Return the error that an operation's caller gets when its method raised `error`, one with a code.

    However little of the call inside began, this one had. The innermost call that failed is named in `through`.
    """
    passed = {"through": error.details.get("through") or error.asked} if error.asked else {}
    return from_wire(error.code, error.message, {**error.details, **passed, "began": "yes"})


def through(error: MeshError) -> str | None:
    """Return the call further in whose error this is, None if it is of the call that it ended."""
    return error.details.get("through")
