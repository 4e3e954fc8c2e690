"""What the launcher knows of one child, and what it says about its children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mesh.launcher.child import Child
from mesh.restart import Restarts

REGISTRY = "registry"


@dataclass(frozen=True, slots=True)
class LauncherEvent:
    """Something the operator may want to see: `text` for people, `data` for programs.

    `kind` is one of waiting (for what a killed launcher left), started, status (a child's own line, in `data`), up (a
    child is ready, each time), ready (all hosts are, once), restarting, refused, quarantined, ended, stopping,
    killing. `child` is a host, `registry` or None.
    """

    kind: str
    child: str | None
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Kept:
    """A child, its restart budget, and where it stands; moments are monotonic seconds.

    `leaving` is set once it was asked to stop; `over` says why it will not be started again.
    """

    child: Child
    restarts: Restarts
    again_at: float | None = None
    kill_at: float | None = None
    was_ready: bool = False
    ready: Mapping[str, Any] | None = None
    failure: str = ""
    leaving: bool = False
    over: Literal["stopped", "refused", "quarantined"] | None = None

    @property
    def name(self) -> str:
        """The host, or `registry`."""
        return self.child.name

    @property
    def label(self) -> str:
        """What it is called in a sentence."""
        return "the registry" if self.name == REGISTRY else f"the supervisor of {self.name}"


def ready_event(hosts: Sequence[Kept], seconds: float) -> LauncherEvent:
    """Return the one event that ends the start: the sums over the hosts that are ready, and who is not."""
    told = {host.name: host.ready for host in hosts if host.ready is not None}
    data: dict[str, Any] = {
        "event": "ready",
        "ready": sum(status.get("ready", 0) for status in told.values()),
        "total": sum(status.get("total", 0) for status in told.values()),
        "seconds": round(seconds, 3),
        "hosts": list(told),
        "degraded": [{**agent, "host": name} for name, status in told.items() for agent in status.get("degraded", ())],
        "failed": [{**agent, "host": name} for name, status in told.items() for agent in status.get("failed", ())],
        "missing": [{"host": host.name, "reason": host.failure or host.over} for host in hosts if host.ready is None],
        "alone": [{**status["alone"], "host": name} for name, status in told.items() if status.get("alone")],
    }
    counts = [f"{data['ready']}/{data['total']} agents ready"]
    counts += [f"{len(data[kind])} {kind}" for kind in ("degraded", "failed") if data[kind]]
    text = f"{', '.join(counts)} in {seconds:.1f} s on {', '.join(told)}"
    return LauncherEvent("ready", None, text, data)
