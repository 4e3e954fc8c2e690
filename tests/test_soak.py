"""What a soak judges: a host that holds more at the end than it did has grown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.soak import GROWTH_MB, Stand, grown

EARLY = Stand(59, 10, 1, 56.0)


def test_a_host_that_holds_what_it_held_has_not_grown() -> None:
    assert grown(EARLY, EARLY) == []
    assert grown(EARLY, Stand(61, 11, 1, 56.0 + GROWTH_MB)) == [], "something may just be ending"


@pytest.mark.parametrize(("what", "more"), [("descriptors", 3), ("threads", 2), ("children", 1), ("memory_mb", 9.0)])
def test_what_has_grown_is_named(what: str, more: float) -> None:
    assert grown(EARLY, replace(EARLY, **{what: getattr(EARLY, what) + more})) == [what.removesuffix("_mb")]
