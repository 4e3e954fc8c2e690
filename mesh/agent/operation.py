"""The decorators of an agent class: what it can be asked, what it listens to, what it does by the clock.

A decorator only attaches a frozen record to the function and returns the same function; whoever loads the class reads
the records. What cannot be right is refused where it is written, with `LoadError`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from mesh.agent.caching import Cache, cache_of
from mesh.agent.misfit import misfit
from mesh.errors import InvalidArgument
from mesh.message import MAX_BODY
from mesh.topics import check_pattern

DEFAULT_MAX_BODY = 16 * 1024 * 1024

OPERATION = "__mesh_operation__"
SUBSCRIPTIONS = "__mesh_subscriptions__"
TIMER = "__mesh_timer__"

_GROUP = re.compile(r"[a-z0-9_]{1,64}")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """How an operation may be called: whether twice does no harm, how many bytes its arguments may have, and whether
    its answers may be kept."""

    idempotent: bool = False
    max_body: int = DEFAULT_MAX_BODY
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """Which topics a method hears, and as a member of which group."""

    pattern: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class TimerSpec:
    """How many seconds lie between two runs of a method."""

    seconds: float


@overload
def operation(function: F, /) -> F: ...
@overload
def operation(
    *, idempotent: bool = False, max_body: int = DEFAULT_MAX_BODY, cache: float | Cache | None = None
) -> Callable[[F], F]: ...
def operation(
    function: F | None = None, /, *, idempotent: bool = False, max_body: int = DEFAULT_MAX_BODY,
    cache: float | Cache | None = None,
) -> F | Callable[[F], F]:
    """Offer a method to other agents under its own name.

    `idempotent` says that running it twice does no harm, so a call whose fate is unknown may be tried again;
    `max_body` bounds the encoded arguments in bytes. `cache` are the seconds that callers' hosts may keep an answer, or
    a `Cache`; for idempotent operations only, whose answer does not depend on who asks. A plain `def` runs in the
    cell's thread pool.
    """

    def attach(method: F) -> F:
        if not isinstance(idempotent, bool):
            raise misfit(_name(method), f"@operation(idempotent={idempotent!r})",
                         "idempotent is yes or no", "idempotent=True or idempotent=False", method)
        if type(max_body) is not int or not 0 < max_body <= MAX_BODY:
            raise misfit(_name(method), f"@operation(max_body={max_body!r})", "max_body is no usable size",
                         f"a number of bytes from 1 to {MAX_BODY}", method)
        _check_method(method, "@operation")
        kept = cache_of(_name(method), method, cache, idempotent)
        setattr(method, OPERATION, OperationSpec(idempotent, max_body, kept))
        return method

    return attach if function is None else attach(function)


def subscribe(pattern: str, *, group: str | None = None) -> Callable[[F], F]:
    """Call a method with each event whose topic matches `pattern`: `*` is one segment, a final `#` the rest.

    The method takes the payload and, if it declares it, `topic: str`. It may carry several patterns. With a `group`
    each event goes to one member only of all instances in the mesh that hear it in that group.
    """
    if not isinstance(pattern, str):
        raise misfit(_name(pattern), "@subscribe", "the topic pattern is missing",
                     '@subscribe("interaction.completed")', pattern)

    def attach(method: F) -> F:
        try:
            check_pattern(pattern)
        except InvalidArgument as error:
            raise misfit(_name(method), f"@subscribe({pattern!r})", error.message,
                         '@subscribe("interaction.completed"), "interaction.*" or "interaction.#"', method) from None
        if group is not None and not (isinstance(group, str) and _GROUP.fullmatch(group)):
            raise misfit(_name(method), f"@subscribe({pattern!r}, group={group!r})",
                         "a group has a name of lower-case letters, digits and _", '@subscribe("orders.*", '
                         'group="workers")', method)
        _check_method(method, "@subscribe")
        earlier: tuple[SubscriptionSpec, ...] = method.__dict__.get(SUBSCRIPTIONS, ())
        setattr(method, SUBSCRIPTIONS, (SubscriptionSpec(pattern, group), *earlier))
        return method

    return attach


def every(*, seconds: float) -> Callable[[F], F]:
    """Call a method each `seconds`, the first time that long after the start; two runs never overlap."""

    def attach(method: F) -> F:
        known = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not known or not 0 < seconds < math.inf:
            raise misfit(_name(method), f"@every(seconds={seconds!r})", "this is no time to wait",
                         "a number of seconds above 0, such as @every(seconds=300)", method)
        _check_method(method, "@every")
        setattr(method, TIMER, TimerSpec(float(seconds)))
        return method

    return attach


def _check_method(function: Any, decorator: str) -> None:
    """Raise `LoadError` unless `function` is written as a method of a class."""
    if not inspect.isfunction(function):
        found = f"a {type(function).__name__}"
    elif not _in_class(function):
        found = "a function outside a class"
    elif next(iter(inspect.signature(function).parameters), None) != "self":
        found = "a function whose first parameter is not self"
    else:
        return
    raise misfit(_name(function), f"{decorator} on {found}", f"{decorator} goes on a method of an agent class",
                 "async def name(self, ...) inside a class derived from Agent", getattr(function, "__func__", function))


def _in_class(function: Any) -> bool:
    owner = function.__qualname__.rpartition(".")[0]
    return bool(owner) and not owner.endswith("<locals>")


def _name(function: Any) -> str:
    named = getattr(function, "__func__", None) or getattr(function, "fget", None) or function
    return str(getattr(named, "__qualname__", repr(named)))
