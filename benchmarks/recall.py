"""How much of what three users tell is recalled when they ask in other words, among a thousand distractors.

    python -m benchmarks.recall            all sets of phrasings, with the agents in this process
    python -m benchmarks.recall --cli      through `mesh ask` of the running mesh, which is taken down and up in between

The set `held_out` was written before the engine was tuned and its failures were never looked at: its figures are the
honest ones.
`control` puts the answers against the expectations of other questions, `words` answers with the best match of plain
words: both must do far worse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from benchmarks.recall_facts import Question, World, Writer, phrasings
from mesh.testing import InMemoryMesh

USERS = ("ann", "bob", "cem")
FACTS, DISTRACTORS, UNKNOWN = 100, 1000, 60
ASKS = ("Remember that {}", "Please remember that {}", "Keep in mind that {}", "Don't forget that {}", "Note that {}")
NOT_KNOWN = ("don't know", "do not know")
SERVICES = (
    "memory_orchestrator", "memory_client", "knowledge_base", "session_memory", "nlu", "chitchat", "responder",
    "request_coordinator",
)  # fmt: skip
SETS = ("first", "tuned", "rare", "held_out")


class Assistant(Protocol):
    """Who is told and asked."""

    async def say(self, user: str, text: str) -> str:
        """Say something as a user and return the answer."""

    async def store(self, told: Sequence[tuple[str, str]]) -> None:
        """Put texts into the memories of users without talking."""

    async def restart(self) -> None:
        """Stop everything and start it again."""

    async def best_words(self, user: str, text: str) -> str:
        """Return the memory that matches the plain words of `text` best, "" for none."""


@dataclass
class Outcome:
    """What came of one run; `wrong` lists question, expectation and answer."""

    counts: Counter[str] = field(default_factory=Counter)
    control: int = 0
    words: int = 0
    wrong: list[tuple[str, str | None, str]] = field(default_factory=list)

    @property
    def known(self) -> int:
        """Questions that have an answer."""
        return sum(self.counts[name] for name in ("right", "wrong", "missed"))

    @property
    def unknown(self) -> int:
        """Questions that have none."""
        return sum(self.counts[name] for name in ("not known", "invented", "leaked"))

    def share(self, name: str) -> float:
        """Return a count as a share of the questions it belongs to."""
        return self.counts[name] / max(1, self.known if name in ("right", "wrong", "missed") else self.unknown)


def verdict(question: Question, answer: str) -> str:
    """Return `right`, `wrong` or `missed` for what was told, `not known`, `invented` or `leaked` for what was not."""
    said = answer.lower()
    knows = not any(phrase in said for phrase in NOT_KNOWN)
    if question.expected is not None:
        return "right" if question.expected.lower() in said else "wrong" if knows else "missed"
    if any(other.lower() in said for other in question.others):
        return "leaked"
    return "invented" if knows else "not known"


async def run(assistant: Assistant, world: World, seed: int) -> Outcome:
    """Tell a world to an assistant, restart it, ask, and count."""
    random = Random(seed)
    await assistant.store(world.distractors[: len(world.distractors) // 2])
    for user, text in world.told:
        await assistant.say(user, random.choice(ASKS).format(text))
    await assistant.store(world.distractors[len(world.distractors) // 2 :])
    await assistant.restart()
    outcome, answers = Outcome(), list[tuple[Question, str]]()
    for question in world.questions:
        answer = await assistant.say(question.user, question.text)
        found = verdict(question, answer)
        outcome.counts[found] += 1
        if found in ("wrong", "missed", "invented", "leaked"):
            outcome.wrong.append((question.text, question.expected, answer))
        if question.expected is not None:
            answers.append((question, answer))
            plain = await assistant.best_words(question.user, question.text)
            outcome.words += question.expected.lower() in plain.lower()
    expectations = [question.expected or "" for question, _ in answers]
    for index, (_, answer) in enumerate(answers):
        outcome.control += expectations[(index + 1) % len(expectations)].lower() in answer.lower()
    return outcome


class InProcess:
    """The agents on two hosts of an in-memory mesh."""

    def __init__(self, mesh: InMemoryMesh) -> None:
        self._mesh = mesh

    async def start(self) -> None:
        """Start the agents that take part."""
        for service in SERVICES:
            await self._mesh.add(service)

    async def say(self, user: str, text: str) -> str:
        """Say something as a user and return the answer."""
        reply = await self._mesh.request("request_coordinator.submit_text", data=text, user_id=user)
        return str(reply["answer"])

    async def store(self, told: Sequence[tuple[str, str]]) -> None:
        """Put texts into the memories of users."""
        memories = [{"content": text, "user_id": user} for user, text in told]
        await self._mesh.request("memory_client.batch_add_memories", memories=memories)

    async def restart(self) -> None:
        """Restart each agent, who asks before who is asked, so that nothing is under way to one that is away."""
        for service in reversed(SERVICES):
            await self._mesh.restart(service)

    async def best_words(self, user: str, text: str) -> str:
        """Return the best match of plain words."""
        found = await self._mesh.request(
            "memory_client.search_memory", query=text, user_id=user, limit=1, memory_type="general"
        )
        return str(found["results"][0]["content"]) if found["results"] else ""


class ThroughCli:
    """The running mesh, spoken to as a person would."""

    def __init__(self, command: str) -> None:
        self._command = command

    async def say(self, user: str, text: str) -> str:
        """Run `mesh ask`."""
        return str((await self._mesh("ask", "--user", user, text))["answer"])

    async def store(self, told: Sequence[tuple[str, str]]) -> None:
        """Run `mesh call` once for all texts."""
        memories = [{"content": text, "user_id": user} for user, text in told]
        for start in range(0, len(memories), 100):
            await self._call("memory_client.batch_add_memories", memories=memories[start : start + 100])

    async def restart(self) -> None:
        """Take the mesh down and up."""
        await self._plain("down")
        await self._plain("up", "--detach")

    async def best_words(self, user: str, text: str) -> str:
        """Return the best match of plain words."""
        found = await self._call(
            "memory_client.search_memory", query=text, user_id=user, limit=1, memory_type="general"
        )
        results = found.get("results", [])
        return str(results[0]["content"]) if results else ""

    async def _call(self, target: str, **arguments: Any) -> dict[str, Any]:
        return dict((await self._mesh("call", target, "--data", json.dumps(arguments)))["result"])

    async def _mesh(self, *words: str) -> dict[str, Any]:
        return dict(json.loads(await self._plain(*words, "--json")))

    async def _plain(self, *words: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [self._command, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"mesh {words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


async def in_process(
    name: str, seed: int, facts: int = FACTS, distractors: int = DISTRACTORS, unknown: int = UNKNOWN
) -> Outcome:
    """Run one set of phrasings in an in-memory mesh of its own."""
    world = Writer(seed, phrasings(name)).world(USERS, facts, distractors, unknown)
    async with InMemoryMesh() as mesh:
        assistant = InProcess(mesh)
        await assistant.start()
        return await run(assistant, world, seed)


def report(name: str, seed: int, outcome: Outcome) -> str:
    """Return one line of the table."""

    def figures(names: tuple[str, ...], total: int) -> str:
        return ", ".join(f"{each} {outcome.counts[each]}" for each in names) + f" of {total}"

    told = figures(("right", "wrong", "missed"), outcome.known)
    untold = figures(("not known", "invented", "leaked"), outcome.unknown)
    return f"{name:8} seed {seed:2} | {told} | {untold} | control {outcome.control}, words {outcome.words}"


def main() -> None:
    """Run the sets that were asked for and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cli", action="store_true", help="talk to the running mesh instead of agents in this process")
    parser.add_argument("--mesh", default=str(Path(sys.executable).parent / "mesh"), help="the mesh command for --cli")
    parser.add_argument("--set", choices=[*SETS, "all"], default="all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--show", action="store_true", help="print each question that was not answered right")
    told = parser.parse_args()
    for name in SETS if told.set == "all" else [told.set]:
        for seed in told.seeds:
            if told.cli:
                world = Writer(seed, phrasings(name)).world(USERS, FACTS, DISTRACTORS, UNKNOWN)
                outcome = asyncio.run(run(ThroughCli(told.mesh), world, seed))
            else:
                outcome = asyncio.run(in_process(name, seed))
            print(report(name, seed, outcome), flush=True)
            for line in outcome.wrong if told.show else ():
                print("   ", *line, sep=" | ")


if __name__ == "__main__":
    main()
