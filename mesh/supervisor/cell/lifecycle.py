"""The states of a cell and how it may pass from one to the next.

The table is the only place where this is said: cells obey it, tests walk it, the docs diagram is printed from it. It
knows nothing of why a state changes or what has to be done then; a `Lifecycle` only refuses what the table has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mesh.errors import MeshError


class State(StrEnum):
    """What a cell is doing; the order is the one in which counts are shown."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    DRAINING = "draining"
    FAILED = "failed"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"

    @property
    def serving(self) -> bool:
        """Tell whether new calls are taken."""
        return self in (State.READY, State.DEGRADED)


class Needs(StrEnum):
    """What a transition asks for besides the state before it, or, for `GROUP`, the one occasion for it."""

    NOTHING = ""
    WANTED = "desired = running"
    OPERATOR = "operator only"
    GROUP = "with its group"


TABLE: Mapping[tuple[State, State], Needs] = {
    (State.STOPPED, State.STARTING): Needs.NOTHING,
    (State.STOPPED, State.QUARANTINED): Needs.GROUP,
    (State.STARTING, State.READY): Needs.NOTHING,
    (State.STARTING, State.DEGRADED): Needs.NOTHING,
    (State.STARTING, State.FAILED): Needs.NOTHING,
    (State.STARTING, State.STOPPED): Needs.NOTHING,
    (State.READY, State.DEGRADED): Needs.NOTHING,
    (State.READY, State.DRAINING): Needs.NOTHING,
    (State.READY, State.FAILED): Needs.NOTHING,
    (State.DEGRADED, State.READY): Needs.NOTHING,
    (State.DEGRADED, State.DRAINING): Needs.NOTHING,
    (State.DEGRADED, State.FAILED): Needs.NOTHING,
    (State.DRAINING, State.STOPPED): Needs.NOTHING,
    (State.FAILED, State.BACKOFF): Needs.WANTED,
    (State.FAILED, State.QUARANTINED): Needs.NOTHING,
    (State.FAILED, State.STOPPED): Needs.NOTHING,
    (State.BACKOFF, State.STARTING): Needs.NOTHING,
    (State.BACKOFF, State.STOPPED): Needs.NOTHING,
    (State.QUARANTINED, State.STARTING): Needs.OPERATOR,
    (State.QUARANTINED, State.STOPPED): Needs.OPERATOR,
}


@dataclass(frozen=True, slots=True)
class Transition:
    """One step that was taken; `reason` is for people."""

    before: State
    after: State
    reason: str


class Lifecycle:
    """Where one cell stands, and why.

    `desired_running` and `by_operator` are facts the caller knows; a step that needs one and has it not is refused.
    """

    def __init__(self, state: State = State.STOPPED, reason: str = "") -> None:
        self.state = state
        self.reason = reason

    def __repr__(self) -> str:
        return f"Lifecycle({self.state.value!r}, {self.reason!r})"

    def allows(self, state: State, *, desired_running: bool = True, by_operator: bool = False) -> bool:
        """Tell whether `to` would take this step."""
        return self._refusal(state, desired_running, by_operator) is None

    def to(
        self, state: State, reason: str = "", *, desired_running: bool = True, by_operator: bool = False
    ) -> Transition:
        """Take the step to `state` and return it; raises `MeshError` for one the table has not, changing nothing."""
        refusal = self._refusal(state, desired_running, by_operator)
        if refusal is not None:
            raise MeshError(f"a cell cannot go from {self.state} to {state}: {refusal}")
        step = Transition(self.state, state, reason)
        self.state, self.reason = state, reason
        return step

    def explain(self, reason: str) -> bool:
        """Say anew why the state is what it is, without a step; tell whether the reason changed."""
        changed = reason != self.reason
        self.reason = reason
        return changed

    def _refusal(self, state: State, desired_running: bool, by_operator: bool) -> str | None:
        needs = TABLE.get((self.state, state))
        if needs is None:
            return f"from {self.state} it goes to {' or '.join(successors(self.state))}"
        if needs is Needs.WANTED and not desired_running:
            return "it is not desired to run"
        if needs is Needs.OPERATOR and not by_operator:
            return "only an operator takes it out of there (mesh agent start)"
        return None


def successors(state: State) -> tuple[State, ...]:
    """Return the states that may follow `state`, in the order of the table."""
    return tuple(after for before, after in TABLE if before is state)


def diagram() -> str:
    """Return the table as the text of a mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.STOPPED}"]
    for (before, after), needs in TABLE.items():
        lines.append(f"    {before} --> {after}" + (f": {needs}" if needs else ""))
    return "\n".join(lines) + "\n"
