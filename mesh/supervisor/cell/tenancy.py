"""What holds the agent of a cell: this process or one of its own; the cell's life is the same with either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mesh.message import Answer, Event, Request
from mesh.records import GROUP, HEARS
from mesh.supervisor.cell.stragglers import Stragglers


class Described(Protocol):
    """Something an agent offers, of which the cell needs no more than its words."""

    def describe(self) -> dict[str, Any]:
        """Return it as plain values."""


@dataclass(frozen=True, slots=True)
class Told:
    """What another process has said of something that its agent offers."""

    words: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """Return it as it was told."""
        return self.words


@dataclass(frozen=True, slots=True)
class Offer:
    """What a class offers, known once it is loaded: `patterns` are the topics it hears in no group, `config`
    gives the JSON schema of its settings; `version` and `traits` are those of an `InstanceRecord`; `single` says why
    there should not be two of it, empty if there may."""

    purpose: str = ""
    operations: Mapping[str, Described] = field(default_factory=dict)
    subscriptions: Sequence[Described] = ()
    timers: Sequence[Described] = ()
    patterns: tuple[str, ...] = ()
    config: Callable[[], Mapping[str, Any]] = dict
    version: str = ""
    traits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    single: str = ""

    def heard(self) -> Iterator[tuple[str | None, str]]:
        """Yield the patterns that are heard, each with its group, None for those that everybody hears."""
        yield from ((None, pattern) for pattern in self.patterns)
        for name, trait in self.traits.items():
            yield from ((name.removeprefix(GROUP), pattern) for pattern in trait.get(HEARS, ()))

    def to_wire(self) -> dict[str, Any]:
        """Return the offer as plain values."""
        return {
            "purpose": self.purpose, "patterns": list(self.patterns),
            "operations": {name: one.describe() for name, one in self.operations.items()},
            "subscriptions": [one.describe() for one in self.subscriptions],
            "timers": [one.describe() for one in self.timers], "config": dict(self.config()),
            "version": self.version, "traits": dict(self.traits),
            "single": self.single,
        }

    @classmethod
    def from_wire(cls, told: Mapping[str, Any]) -> Offer:
        """Return the offer that `to_wire` told of."""
        return cls(
            told["purpose"], {name: Told(words) for name, words in told["operations"].items()},
            [Told(words) for words in told["subscriptions"]], [Told(words) for words in told["timers"]],
            tuple(told["patterns"]), lambda: told["config"], told["version"], told["traits"], told["single"],
        )


class Landlord(Protocol):
    """The cell as a tenancy knows it: who is told what goes wrong."""

    @property
    def stragglers(self) -> Stragglers:
        """What was cancelled and goes on."""

    async def report(
        self, error: BaseException | str, *, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Put something on the error bus and return its id."""

    async def failed(self, error: Exception, operation: str, trace_id: str | None = None) -> str:
        """Take note of what the agent's own code raised and return its id; after an `AgentExit` the agent is gone."""

    def gone(self, error: Exception) -> None:
        """Take note that the agent is gone, although nobody asked for that."""


class Tenancy(Protocol):
    """One agent from load to close, wherever its code runs; made anew for each start of its cell."""

    @property
    def pid(self) -> int | None:
        """The process of the agent's own, None while it has none."""

    @property
    def memory_mb(self) -> float | None:
        """The memory of that process in MiB, as it was at most a second ago."""

    async def load(self) -> Offer:
        """Get hold of the agent's class; raises `LoadError` and whatever the agent's file lets through."""

    async def set_up(self) -> None:
        """Bind and set up the agent and have its timers run; raises what the agent raises."""

    async def where(self) -> str | None:
        """Return the line of the agent's own file where its code stands now, None if that cannot be seen."""

    def settings(self) -> dict[str, Any] | None:
        """Return the settings in force, secrets hidden; None while the agent is not bound."""

    async def accept(self, settings: Mapping[str, Any]) -> None:
        """Raise `ConfigError` if the agent's `Config` does not take `settings`; changes nothing."""

    async def reconfigure(self, settings: Mapping[str, Any]) -> bool:
        """Hand new settings to the running agent; returns False if it has no `on_config` and must start anew.

        Raises `ConfigError` for settings that its `Config` does not take, and whatever `on_config` raises.
        """

    async def check(self) -> str | None:
        """Return why the agent is degraded, None when it is well; raises `AgentExit`."""

    def prompt(self, operation: str) -> bool:
        """Tell whether an operation never waits, so that `execute` answers it at once unless it fails."""

    def execute(self, request: Request) -> Answer:
        """Run the operation a request names; every error is in the reply."""

    def hear(self, event: Event) -> None:
        """Have the agent handle an event some time later."""

    async def retire(self) -> None:
        """Begin nothing more of its own accord; return when the events it has taken and the ticks it began are done."""

    async def close(self) -> None:
        """Tear the agent down within `stop_s` and let go of it, whatever state it is in; raises nothing."""
