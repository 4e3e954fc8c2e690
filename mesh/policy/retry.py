"""Ask again when that is safe, may help, is in time, and within the budget.

Rules this file holds to:
- What may be done once is asked once: again only what provably never began, or an idempotent operation's call that was
  lost on the way.
- The nearest caller asks again. An error that an operation passes on from what it called itself says so (`through`):
  there the nearest caller was that operation, and if each caller in a chain of four tried three times, the last would
  be asked 27 times.
- Nobody waits longer than `most_s` or past the deadline: an error that nothing can be done about is told at once.
- A stream is asked for again until it is open.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mesh.clock import Clock
from mesh.config import RetryRule
from mesh.errors import MeshError, through
from mesh.message import Request
from mesh.policy.budget import Budget
from mesh.policy.options import CallOptions

NEVER_BEGAN = frozenset({"unavailable", "circuit_open", "overloaded", "rate_limited"})


def may_repeat(error: MeshError, idempotent: bool) -> bool:
    """Tell whether a call that ended so can be made again without being done twice."""
    if through(error) is not None:
        return False
    began = error.details.get("began", "no" if error.code in NEVER_BEGAN else "unknown")
    return (error.code in NEVER_BEGAN or error.code == "unreachable") and (idempotent or began == "no")


def wait_before(
    rule: RetryRule, attempts: int, error: MeshError, left: float, draw: float, most: int | None = None
) -> float | None:
    """Return the seconds to wait before the next of `attempts` made, None if there is none.

    `left` are the seconds to the deadline, `draw` is a number below 1, `most` the attempts that this call wants.
    Exponential backoff with full jitter (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter), on top of
    what the error asks for.
    """
    if attempts >= (most or rule.attempts):
        return None
    asked = error.details.get("retry_after") or 0.0
    if type(asked) not in (int, float) or not 0.0 <= asked <= rule.most_s:
        return None
    wait = float(asked) + draw * min(rule.most_s, rule.first_s * rule.factor ** (attempts - 1))
    return wait if wait < left else None


class Retry:
    """When the calls of one operation are made again; `idempotent` tells what is known of it when it matters."""

    def __init__(
        self, rule: RetryRule, budget: Budget, idempotent: Callable[[], bool], clock: Clock, random: Random
    ) -> None:
        self.budget = budget
        self._rule = rule
        self._idempotent = idempotent
        self._clock = clock
        self._random = random

    def wait(self, request: Request, error: MeshError, attempts: int) -> float | None:
        """Return the seconds to wait before a call that has failed `attempts` times is made again, None if it is not.
        """
        if not may_repeat(error, self._idempotent()):
            return None
        now, most = self._clock.monotonic(), CallOptions.from_wire(request.options).attempts
        wait = wait_before(self._rule, attempts, error, request.deadline - now, self._random.random(), most)
        return wait if wait is not None and self.budget.take(now) else None
