"""`mesh describe` says what bounds the calls of a service just now, and nothing of bounds that nobody has met."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.cli.policies import print_policies
from mesh.policy.bulkhead import Bulkheads
from mesh.policy.fallback import Fallbacks
from mesh.policy.inbox import Inbox
from mesh.policy.pause import Pauses
from mesh.policy.rate import Rates
from tests.policy.calls import on_a_loop


def answer(*, bulkheads: Bulkheads, pauses: Pauses, fallbacks: Fallbacks, inbox: Inbox, rates: Rates) -> dict[str, Any]:
    return {"host": "pc2", "rules": [], "breakers": [], "budget": None, "bulkhead": bulkheads.row("kb"),
            "pause": pauses.row("kb"), "fallback": fallbacks.row("kb"),
            "here": [{"name": "kb", "inbox": inbox.row(), "rate": rates.rows()}]}


@on_a_loop
async def test_bounds_that_were_met_are_told_and_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    parts: dict[str, Any] = {"bulkheads": Bulkheads(), "pauses": Pauses(), "fallbacks": Fallbacks(), "rates": Rates(),
                             "inbox": Inbox(waiting=1, concurrency=1)}
    print_policies([answer(**parts)])
    assert capsys.readouterr().out.split() == ["policies"]
    place = parts["bulkheads"].of("kb", 5)
    place.outstanding, place.refused = 5, 2
    parts["pauses"].refused["kb"] = 7
    parts["fallbacks"].answered["kb", "unavailable"] = 3
    parts["inbox"].refused, parts["inbox"].shed.refused = 4, 9
    buckets = parts["rates"].of("find", 1, 60.0)
    buckets.take("nlu@pc2", 0.0)
    buckets.take("nlu@pc2", 0.0)
    print_policies([answer(**parts)])
    told = " ".join(capsys.readouterr().out.split())
    for text in (
        "from pc2: 5 calls outstanding, 2 refused by the bulkhead",
        "from pc2: 7 calls held back because it had said when to come again, 0 callers just now",
        "from pc2: 3 calls answered by the fallback, 0 whose fallback failed as well",
        "kb on pc2: 0 calls run, 0 wait; refused: 4 for want of a place, 9 that would have waited too long",
        "kb on pc2: rate of find: 1 calls refused, 1 callers have used some of their share",
    ):
        assert text in told
