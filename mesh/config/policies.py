"""What the files may say of the policies around a call, and how the places where it is said are laid over each other.

The service that is called has the say: `policies:` of its agent file lies over `policies:` of `hosts.yaml`, and
`policies: operations: <name>:` over both. What nobody writes is as the defaults here; `null` turns a policy off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Balance = Literal["two_choices", "round_robin", "least_outstanding", "random", "local_first", "hash"]


Failure = Literal[
    "unavailable", "unreachable", "overloaded", "rate_limited", "circuit_open", "deadline_exceeded", "remote_failure",
    "invalid_result", "engine_missing",
]
"""Errors that another answer may stand in for; what the caller did wrong or may not do is never among them."""


class Rule(BaseModel):
    """Base of the rules: strict types, no unknown keys, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class RetryRule(Rule):
    """When a call that failed is made again."""

    attempts: int = Field(default=3, ge=1, le=10, description="Attempts of one call, the first included.")
    first_s: float = Field(default=0.1, gt=0, description="Seconds to wait before the second attempt, at most.")
    factor: float = Field(default=2.0, ge=1, description="By how much each further wait may be longer.")
    most_s: float = Field(default=1.0, gt=0, description="Seconds no wait is longer than, nor `retry_after`.")
    budget: float = Field(default=0.2, ge=0, le=1, description="Retries there may be for each call, over all of them.")
    reserve: int = Field(default=10, ge=0, description="Retries that may be made before calls have earned any.")


class BreakerRule(Rule):
    """When an instance that fails is not called for a while."""

    failures: int = Field(default=5, ge=1, description="Failures in a row that open it.")
    share: float = Field(default=0.5, gt=0, le=1, description="Share of failures that opens it, of `of` calls or more.")
    of: int = Field(default=20, ge=1, description="Calls within `within_s` before their share counts.")
    within_s: float = Field(default=10.0, gt=0, description="Seconds over which the share is taken.")
    open_s: float = Field(default=60.0, gt=0, description="Seconds until an open one lets a trial through.")
    trials: int = Field(default=1, ge=1, description="Trials at the same time while it is half open.")
    successes: int = Field(default=2, ge=1, description="Successful trials that close it.")


class BulkheadRule(Rule):
    """How many calls of one host to one service may be under way."""

    calls: int = Field(default=2048, ge=1, description="Calls that may be outstanding; one more is `overloaded`.")


class RateRule(Rule):
    """How many calls one caller may make of one operation."""

    calls: int = Field(default=100, ge=1, description="Calls within `per_s`; as many may come at once.")
    per_s: float = Field(default=60.0, gt=0, description="Seconds in which so many may be made.")


class ShedRule(Rule):
    """When calls are refused because the host does not keep up."""

    wait_s: float = Field(default=0.1, gt=0, description="Seconds a call may wait in a queue that does not empty.")


class PauseRule(Rule):
    """Whether a callee that says when to come again is left alone until then."""

    most_s: float = Field(default=1.0, gt=0, description="Seconds after which it is asked again in any case.")


class FallbackRule(Rule):
    """What answers in place of a call that failed."""

    service: str | None = Field(default=None, description="Another `service` or `service.operation` to ask.")
    value: Any = Field(default=None, description="The value to answer with, where no service is named.")
    on: list[Failure] = Field(
        default=list(get_args(Failure)), description="Errors after which it answers, by their code.",
    )


class CacheRule(Rule):
    """How long results are kept on the caller's host."""

    ttl_s: float | None = Field(default=None, gt=0, description="Seconds a result is good for; else the operation's.")
    stale_s: float | None = Field(
        default=None, ge=0, description="Seconds after that in which it is still given while a new one is fetched."
    )
    redis: bool = Field(default=True, description="Shares results in `connections.redis`, where there is one.")
    undeclared: bool = Field(
        default=False, description="Keeps results of idempotent operations that declare no `cache` too; needs `ttl_s`."
    )


class Rules(Rule):
    """The policies in force around the calls of one operation."""

    fallback: FallbackRule | None = Field(default=None, description="What answers in place of a call that failed.")
    cache: CacheRule | None = Field(
        default=CacheRule(), description="Keeps results of operations that are declared with `cache`."
    )
    retry: RetryRule | None = Field(default=RetryRule(), description="Makes calls that failed again.")
    balance: Balance = Field(default="two_choices", description="Which of several instances is called.")
    hash_by: str | None = Field(default=None, description="Argument whose value chooses, for `balance: hash`.")
    breaker: BreakerRule | None = Field(default=BreakerRule(), description="Leaves instances alone that fail.")
    bulkhead: BulkheadRule | None = Field(default=BulkheadRule(), description="Bounds the calls under way.")
    pause: PauseRule | None = Field(default=PauseRule(), description="Leaves alone who said when to come again.")
    rate: RateRule | None = Field(default=None, description="Bounds how often one caller may call.")
    shed: ShedRule | None = Field(default=ShedRule(), description="Refuses calls while the host does not keep up.")


class Policies(Rules):
    """`policies` of `hosts.yaml` or of an agent file."""

    operations: dict[str, Rules] = Field(default_factory=dict, description="What differs for single operations.")


def rules_of(operation: str, *sections: Policies) -> Rules:
    """Return the rules in force for an operation; each section lies over those before it."""
    values: dict[str, Any] = {}
    for section in sections:
        _lay(values, section.model_dump(exclude_unset=True, exclude={"operations"}))
    for section in sections:
        if operation in section.operations:
            _lay(values, section.operations[operation].model_dump(exclude_unset=True))
    return Rules.model_validate(values)


def _lay(values: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            values[key] = {**values[key], **value}
        else:
            values[key] = value
