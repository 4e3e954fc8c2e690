"""Spans of time as people write them: 30s, 10m, 2h, 1d."""

from __future__ import annotations

import re

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\Z")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def seconds_in(text: str) -> float | None:
    """Return how many seconds a text means, None if it is no span of time."""
    found = _SPAN.match(text.strip())
    return None if found is None else float(found[1]) * _UNITS[found[2]]
