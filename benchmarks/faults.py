"""`python -m benchmarks.faults`: every fault, in every place, before, during and after calls; each call is judged.

Five agents of two hosts call each other all the time. One fault after the other is made; a call that began while it
lasted met it *before*, one that was under way *during*, one that had ended within the last second *after*. Afterwards
all must be well again by itself. At the end the history of every call is checked (`benchmarks/history.py`); a broken
promise is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.history import Broken, Call, Circumstances, Execution, check, lateness, summary
from benchmarks.trial import ASKERS, WORKERS, Trial, running

PLACES = ("caller", "callee", "supervisor of caller", "supervisor of callee", "registry")
PROCESS = {"caller": "caller", "callee": "callee", "supervisor of caller": "mainpc", "supervisor of callee": "pc2",
           "registry": "registry"}
SECONDS = 0.8
FROZEN = 1.2
LOOK_BACK = 1.0
INTERRUPTED = 130
QUIET = 0.4
DURING = ("before", "during", "after")

_NO_CODE = "no agent's code runs there"
_AT_CALLEE = "is what a callee does"
SENSELESS: Mapping[tuple[str, str], str] = {
    **{(fault, "registry"): _NO_CODE for fault in ("exception", "hang", "hold", "slow", "overload", "cancel")},
    **{(fault, place): _AT_CALLEE for fault in ("hang", "slow", "overload")
       for place in ("caller", "supervisor of caller", "supervisor of callee")},
    **{("exception", place): "as at the agent itself, which it contains" for place in PLACES[2:4]},
    **{("cancel", place): "a host that stops drains: see docs/operating.md" for place in PLACES[2:4]},
}
"""What is not made, and why."""


@dataclass(frozen=True)
class Fault:
    """A fault and its place; `make` returns when it is over, with the moment at which it began."""

    name: str
    place: str
    make: Callable[[Trial, Random], Awaitable[float]]


@dataclass
class Made:
    """A fault that was made: when it began, was over, and when all calls ended well again."""

    fault: Fault
    began: float
    over: float = 0.0
    well: float = 0.0
    calls: Mapping[str, list[Call]] = field(default_factory=dict)


# -- the faults


def _kill(place: str) -> Fault:
    async def make(trial: Trial, random: Random) -> float:
        return trial.kill(PROCESS[place])

    return Fault("kill", place, make)


def _freeze(place: str) -> Fault:
    async def make(trial: Trial, random: Random) -> float:
        pid = trial.pid(PROCESS[place])
        began = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(FROZEN * random.uniform(0.8, 1.2))
        finally:
            os.kill(pid, signal.SIGCONT)
        return began

    return Fault("freeze", place, make)


def _misbehaviour(name: str, place: str, services: Iterable[str]) -> Fault:
    async def make(trial: Trial, random: Random) -> float:
        seconds = SECONDS * random.uniform(0.8, 1.2)
        began = time.monotonic()
        await asyncio.gather(*(trial.ask(f"{service}.misbehave", fault=name, seconds=seconds) for service in services))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        return began

    return Fault(name, place, make)


def _restart() -> Fault:
    async def make(trial: Trial, random: Random) -> float:
        began = time.monotonic()
        await trial.ask("supervisor.agent_restart", "pc2", service="worker")
        return began

    return Fault("cancel", "callee", make)


FAULTS: tuple[Fault, ...] = (
    *(_kill(place) for place in PLACES),
    *(_freeze(place) for place in PLACES),
    _misbehaviour("exception", "callee", WORKERS), _misbehaviour("exception", "caller", ASKERS),
    _misbehaviour("hang", "callee", WORKERS),
    _misbehaviour("hold", "callee", ["worker_apart"]), _misbehaviour("hold", "supervisor of callee", ["worker"]),
    _misbehaviour("hold", "caller", ["asker_apart"]), _misbehaviour("hold", "supervisor of caller", ["asker"]),
    _misbehaviour("slow", "callee", WORKERS),
    _misbehaviour("overload", "callee", ASKERS),
    _misbehaviour("cancel", "caller", ASKERS), _restart(),
)
SHORT = ("kill registry", "kill callee", "kill caller", "kill supervisor of callee", "kill supervisor of caller",
         "freeze supervisor of callee", "exception callee", "hang callee", "hold callee", "slow callee",
         "overload callee", "cancel caller")
"""Every fault and every place at least once."""


# -- the trial


async def matrix(trial: Trial, faults: Iterable[Fault], seed: int, tell: Callable[[str], None] = lambda line: None,
                 slack: float = 0.0) -> tuple[list[Made], list[Broken]]:
    """Make one fault after the other and return them, and the promises that were not kept.

    `slack` is how many seconds later than promised anything may be on a machine that has more to do.
    """
    random = Random(seed)
    made: list[Made] = []
    started = await trial.well(0.0)
    await asyncio.sleep(LOOK_BACK)
    for fault in faults:
        await trial.strays()
        began = await fault.make(trial, random)
        done = Made(fault, began, time.monotonic())
        done.well = await trial.well(done.over)
        made.append(done)
        tell(f"{fault.name} {fault.place}: well again {done.well - done.over:.2f} s after it")
        await asyncio.sleep(QUIET * random.uniform(0.5, 1.5))
    await asyncio.gather(*(trial.ask(f"{asker}.rest") for asker in ASKERS))
    calls, executions = trial.calls(), trial.executions()
    troubles = (0.0, started), *((one.began, one.well + QUIET / 2) for one in made)
    around = Circumstances(time.monotonic(), trial.deaths, troubles, await trial.strays(), slack)
    for one in made:
        one.calls = _sorted(one, calls)
    return made, check(calls, executions, around)


def _sorted(made: Made, calls: Iterable[Call]) -> dict[str, list[Call]]:
    """Return the calls that met a fault, by when it came for them."""
    found: dict[str, list[Call]] = {when: [] for when in DURING}
    for call in calls:
        ended = call.outcome.at if call.outcome is not None else call.deadline
        if made.began < call.began <= made.well:
            found["before"].append(call)
        elif call.began <= made.began < ended:
            found["during"].append(call)
        elif made.began - LOOK_BACK < ended <= made.began:
            found["after"].append(call)
    return found


# -- the table


HEAD = ("| fault | where | when | calls | outcomes | slowest over its deadline | executions | well again after |\n"
        "|---|---|---|---|---|---|---|---|")


def table(made: Iterable[Made], executions: Iterable[Execution]) -> str:
    """Return what became of the calls that met each fault."""
    runs = Counter(run.id for run in executions)
    lines = [HEAD]
    for one in made:
        for when in DURING:
            calls = one.calls[when]
            outcomes = Counter(map(_outcome, calls))
            late = max((lateness(call, call.outcome) for call in calls if call.outcome is not None), default=0.0)
            again = f"{one.well - one.over:.2f} s" if when == "before" else ""
            lines.append(f"| {one.fault.name} | {one.fault.place} | {when} | {len(calls)} | {_told(outcomes)} "
                         f"| {max(0.0, late) * 1000:.0f} ms | {sum(runs[call.id] for call in calls)} | {again} |")
    return "\n".join(lines)


def _outcome(call: Call) -> str:
    """Return how a call ended; one that was given too little time, or given up, ended as planned."""
    if call.outcome is None:
        return "with its caller"
    planned = call.outcome.code != "ok" and call.outcome.code in call.meant
    return f"{call.outcome.code} as planned" if planned else call.outcome.code


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {code}" for code, count in outcomes.most_common()) or "none"


def left_out() -> str:
    """Return which faults are not made where, and why."""
    return "\n".join(f"- {fault} in {place}: {why}" for (fault, place), why in SENSELESS.items())


def main() -> None:
    """Run the matrix and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on with other seeds for so long")
    parser.add_argument("--short", action="store_true", help="each fault and each place once")
    parser.add_argument("--only", help="only faults whose name and place hold this")
    chosen = parser.parse_args()
    faults = [fault for fault in FAULTS
              if (not chosen.short or f"{fault.name} {fault.place}" in SHORT)
              and (not chosen.only or chosen.only in f"{fault.name} {fault.place}")]
    try:
        kept = _go_on(faults, chosen.seed, time.monotonic() + chosen.minutes * 60)
    except KeyboardInterrupt:
        print("ended by Ctrl-C, with all its processes; this seed is not judged", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(not kept)


def _go_on(faults: list[Fault], seed: int, until: float) -> bool:
    """Run the matrix, with seed after seed until a moment has passed; returns whether every promise was kept."""
    kept = _run(faults, seed)
    while time.monotonic() < until:
        seed += 1
        kept = _run(faults, seed) and kept
    return kept


def _run(faults: list[Fault], seed: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="mesh-faults-") as name, running(Path(name), seed) as trial:
        made, broken = asyncio.run(matrix(trial, faults, seed, lambda line: print(line, file=sys.stderr, flush=True)))
        calls, executions = trial.calls(), trial.executions()
    print(table(made, executions))
    print(f"\nseed {seed}: {len(calls)} calls, {len(executions)} executions; promises broken: "
          f"{summary(broken)}", flush=True)
    for each in broken[:40]:
        print(f"  {each}")
    return not broken


if __name__ == "__main__":
    main()
