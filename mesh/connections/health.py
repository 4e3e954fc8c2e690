"""Whether a server outside the mesh is well, and when to look again: decided from what happened and `now`."""

from __future__ import annotations

from typing import Literal

WELL_S = 5.0
"""Seconds between two looks at a server that is well."""
DELAYS_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between looks at one that is not, the last for ever."""

HealthState = Literal["unknown", "ok", "down"]


class Health:
    """One server as this process has found it; moments are monotonic seconds."""

    def __init__(self) -> None:
        self.state: HealthState = "unknown"
        self.reason = ""
        self.failures = 0
        self._next = 0.0

    def succeeded(self, now: float) -> bool:
        """Take an answer; tell whether that is news."""
        news = self.state != "ok"
        self.state, self.reason, self.failures = "ok", "", 0
        self._next = now + WELL_S
        return news

    def failed(self, reason: str, now: float) -> bool:
        """Take a failure; tell whether that is news. Between two looks, further failures of a server that is down say
        nothing more."""
        if self.state == "down" and now < self._next:
            return False
        news = self.state != "down" or self.reason != reason
        self._next = now + DELAYS_S[min(self.failures, len(DELAYS_S) - 1)]
        self.state, self.reason = "down", reason
        self.failures += 1
        return news

    def due(self, now: float) -> float:
        """Return the seconds until the next look, 0 when it is time."""
        return max(0.0, self._next - now)
