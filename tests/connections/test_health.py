"""Health is decided from what happened and when: looks while it is well, sooner ones while it is not."""

from __future__ import annotations

from mesh.connections.health import DELAYS_S, WELL_S, Health


def test_a_server_nobody_asked_yet_is_looked_at_at_once() -> None:
    health = Health()
    assert (health.state, health.due(1000.0)) == ("unknown", 0.0)


def test_an_answer_is_news_once_and_calls_for_the_next_look_in_a_while() -> None:
    health = Health()
    assert health.succeeded(10.0)
    assert not health.succeeded(11.0)
    assert (health.state, health.reason, health.due(11.0)) == ("ok", "", WELL_S)


def test_looks_at_a_server_that_is_down_come_more_and_more_rarely() -> None:
    health, now, waits = Health(), 100.0, []
    health.succeeded(now)
    for _ in range(7):
        health.failed("refused", now)
        waits.append(round(health.due(now), 3))
        now += health.due(now)
    assert waits == [*DELAYS_S, DELAYS_S[-1], DELAYS_S[-1]]
    assert health.succeeded(now)
    assert health.failed("refused", now)
    assert round(health.due(now), 3) == DELAYS_S[0]


def test_failures_between_two_looks_neither_put_the_next_one_off_nor_change_the_reason() -> None:
    health = Health()
    assert health.failed("refused", 0.0)
    for tenth in range(1, 10):
        assert not health.failed("another reason", tenth / 100)
    assert health.due(0.1) == 0.0
    assert health.reason == "refused"
    assert health.failed("another reason", 0.2)
    assert health.reason == "another reason"
