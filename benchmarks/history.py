"""What became of every call, by two witnesses that do not know each other: the callers' journals and the callees'.

Both are append-only files, a line of JSON per happening, written with one `write` each before anything else is done:
what was written is there after any `kill -9`. All moments are seconds of the machine's monotonic clock, so its
processes agree on them. `check` joins them by the call's id and names every call that did not keep a promise:

- one outcome, no later than the deadline + 100 ms (later by as much as the caller's own loop was late, if that was
  50 ms or more: a blocked loop is the caller's own doing and reported elsewhere); none at all only if its caller died;
- at most one execution, unless the operation is idempotent; none that began after the deadline, nor after its caller
  had given up or died and nothing kept the news of that; none that goes on for long after that;
- `ok` only for what was executed to its end, with that execution's own answer; no execution at all of a call that is
  said never to have begun; nobody hears an answer that is not awaited;
- no failure without a cause: outside the times when something was broken a call ends as it was meant to.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LATE = 0.1
"""Seconds after its deadline within which a call has ended, as promised to a caller whose loop turns."""
LOOP_LATE = 0.05
"""From so many seconds on a caller's own lag excuses it."""
NEWS = 0.1
"""Seconds that the news of a caller's end may take to whoever is about to begin."""
CLEANUP = 1.5
"""Seconds within which the execution of a call ends that nobody waits for any more."""
NEVER_BEGUN = frozenset({"unknown_service", "unknown_operation", "unavailable", "overloaded", "rate_limited",
                         "circuit_open", "invalid_argument", "call_cycle", "permission_denied"})
"""Codes that promise by themselves that the call never began."""

HELD_BACK = frozenset({"overloaded", "rate_limited", "circuit_open"})
"""Codes by which callers are held back for a while after a fault, too, so that what has just come back can breathe."""
AFTERMATH = 3.0
"""Seconds after a fault for which that may be."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended for its caller: `ok` or the error's code; `answer` is the id that the answer was made for.

    `lag` is how late the caller's own loop was in all while it waited, in seconds.
    """

    at: float
    code: str
    began: str | None = None
    answer: str | None = None
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller wrote it down; `by` is the caller's process, `meant` the codes it may end with by plan."""

    id: str
    target: str
    began: float
    deadline: float
    by: int
    idempotent: bool = False
    meant: frozenset[str] = frozenset({"ok"})
    outcomes: tuple[Outcome, ...] = ()

    @property
    def outcome(self) -> Outcome | None:
        """The first one."""
        return self.outcomes[0] if self.outcomes else None


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the callee's method, as the callee wrote it down; `by` is its process, `how` it ended."""

    id: str
    began: float
    by: int
    ended: float | None = None
    how: str | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the two witnesses cannot know: which processes died when, when something was broken, when all was over.

    `strays` is how many answers came to nobody's question, `slack` how much later anything may be on this machine.
    """

    over: float
    deaths: Mapping[int, float] = field(default_factory=dict)
    troubles: tuple[tuple[float, float], ...] = ()
    strays: int = 0
    slack: float = 0.0

    def broken(self, since: float, until: float) -> bool:
        """Tell whether something was broken in that time."""
        return any(start <= until and since <= end for start, end in self.troubles)


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was not kept, and to which call."""

    promise: str
    call: str
    told: str

    def __str__(self) -> str:
        return f"{self.call}: {self.promise}: {self.told}"


def check(calls: Iterable[Call], executions: Iterable[Execution], around: Circumstances) -> list[Broken]:
    """Return every promise that was not kept, in the order of the calls."""
    runs: dict[str, list[Execution]] = {}
    for run in executions:
        runs.setdefault(run.id, []).append(run)
    found: list[Broken] = []
    known: set[str] = set()
    for call in sorted(calls, key=lambda each: each.began):
        known.add(call.id)
        found += [Broken(promise, call.id, f"{call.target}: {told}")
                  for promise, told in _broken(call, runs.get(call.id, []), around)]
    found += [Broken("asked for", name, "was executed, and nobody has asked for it") for name in runs.keys() - known]
    if around.strays:
        found.append(Broken("one outcome", "-", f"{around.strays} answers came to nobody's question"))
    return found


def _broken(call: Call, runs: list[Execution], around: Circumstances) -> Iterator[tuple[str, str]]:
    yield from _one_outcome(call, around)
    yield from _in_time(call, around)
    yield from _executions(call, runs, around)
    if call.outcome is not None:
        yield from _truthful(call, call.outcome, runs)
        yield from _with_cause(call, call.outcome, runs, around)


def _one_outcome(call: Call, around: Circumstances) -> Iterator[tuple[str, str]]:
    if len(call.outcomes) > 1:
        yield "one outcome", f"it ended {len(call.outcomes)} times: {', '.join(each.code for each in call.outcomes)}"
    elif not call.outcomes and call.by not in around.deaths and around.over > call.deadline + LATE + around.slack:
        yield "one outcome", "it never ended, and its caller lives"


def _in_time(call: Call, around: Circumstances) -> Iterator[tuple[str, str]]:
    outcome = call.outcome
    if outcome is not None:
        late = lateness(call, outcome)
        if late > LATE + around.slack:
            yield "in time", (f"it ended with {outcome.code} {late * 1000:.0f} ms after its deadline; the loop of its "
                              f"caller was late by {outcome.lag * 1000:.0f} ms")


def lateness(call: Call, outcome: Outcome) -> float:
    """Return by how many seconds a call ended after its deadline, less what its caller's own loop was late."""
    return outcome.at - call.deadline - (outcome.lag if outcome.lag >= LOOP_LATE else 0.0)


def _executions(call: Call, runs: list[Execution], around: Circumstances) -> Iterator[tuple[str, str]]:
    if len(runs) > 1 and not call.idempotent:
        yield "at most once", f"it was executed {len(runs)} times and is not idempotent"
    gone = _given_up(call, around)
    if gone is None:
        return
    for run in runs:
        late = run.began - NEWS - around.slack
        if late > call.deadline or (late > gone and not around.broken(gone, run.began)):
            yield "nothing for nobody", (f"an execution began {run.began - min(gone, call.deadline):.3f} s after its "
                                         f"caller had given up ({_code(call)})")
        ended = run.ended if run.ended is not None else around.deaths.get(run.by, around.over)
        latest = max(gone, run.began) + CLEANUP + around.slack
        if ended > latest and not around.broken(gone, latest):
            yield "cancelled", (f"its execution went on for {ended - gone:.3f} s after its caller had given up "
                                f"({_code(call)})")


def _code(call: Call) -> str:
    return call.outcome.code if call.outcome is not None else "it had died"


def _given_up(call: Call, around: Circumstances) -> float | None:
    """Return when nobody waited for the call any more."""
    return call.outcome.at if call.outcome is not None else around.deaths.get(call.by)


def _truthful(call: Call, outcome: Outcome, runs: list[Execution]) -> Iterator[tuple[str, str]]:
    if outcome.code == "ok":
        if not any(run.how == "returned" and run.ended is not None and run.ended <= outcome.at for run in runs):
            yield "ok is executed", "it is said to be done, and no execution had returned by then"
        if outcome.answer is not None and outcome.answer != call.id:
            yield "its own answer", f"it was given the answer of {outcome.answer}"
    elif runs and (outcome.began == "no" or outcome.code in NEVER_BEGUN) and not call.idempotent:
        yield "never begun", f"it ended with {outcome.code}, said not to have begun, and was executed"


def _with_cause(call: Call, outcome: Outcome, runs: list[Execution], around: Circumstances
                ) -> Iterator[tuple[str, str]]:
    patience = AFTERMATH if outcome.code in HELD_BACK else 0.0
    if outcome.code in call.meant or around.broken(call.began - patience, outcome.at):
        return
    ended = [run.ended for run in runs if run.how == "returned" and run.ended is not None and run.ended < outcome.at]
    if outcome.code == "deadline_exceeded" and ended:
        yield "no reply lost", f"it had returned {call.deadline - ended[0]:.3f} s before the deadline, unheard"
    else:
        yield "no failure without a cause", f"it ended with {outcome.code} while nothing was broken"


# -- the journals


class Journal:
    """A file that only grows: each line leaves the process at once, whole."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, call: str, at: float, **more: Any) -> None:
        """Note a happening of a call."""
        os.write(self._descriptor, json.dumps({"kind": kind, "id": call, "at": at, "by": os.getpid(), **more}).encode()
                 + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; what its writer was killed in the middle of is left out."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def calls_of(lines: Iterable[Mapping[str, Any]]) -> list[Call]:
    """Return the calls that callers have noted as `asked` and `ended`."""
    asked: dict[str, Mapping[str, Any]] = {}
    ended: dict[str, list[Outcome]] = {}
    for line in lines:
        if line["kind"] == "asked":
            asked[line["id"]] = line
        elif line["kind"] == "ended":
            ended.setdefault(line["id"], []).append(
                Outcome(line["at"], line["code"], line.get("began"), line.get("answer"), line.get("lag", 0.0))
            )
    return [
        Call(name, line["target"], line["at"], line["deadline"], line["by"], line["idempotent"],
             frozenset(line["meant"]), tuple(ended.get(name, ())))
        for name, line in asked.items()
    ]


def executions_of(lines: Iterable[Mapping[str, Any]]) -> list[Execution]:
    """Return the executions that callees have noted as `begin` and `end`; `run` tells those of one call apart."""
    begun: dict[tuple[int, int], Execution] = {}
    for line in lines:
        key = (line["by"], line.get("run", 0))
        if line["kind"] == "begin":
            begun[key] = Execution(line["id"], line["at"], line["by"])
        elif line["kind"] == "end" and key in begun:
            run = begun[key]
            begun[key] = Execution(run.id, run.began, run.by, line["at"], line["how"])
    return list(begun.values())


def summary(broken: Iterable[Broken]) -> str:
    """Return how often each promise was broken, `none` if none was."""
    counts = Counter(each.promise for each in broken)
    return ", ".join(f"{count} times {promise}" for promise, count in counts.items()) or "none"
