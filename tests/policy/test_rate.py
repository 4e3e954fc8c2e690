"""Each caller has its share of an operation, is told exactly when the next call may come, and forgotten when idle."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.errors import RateLimited
from mesh.policy.origin import LIMITS, identity, origin
from mesh.policy.rate import OTHERS, Buckets
from tests.figures import read
from tests.policy.calls import ask


@pytest.mark.parametrize(
    ("calls", "per_s", "moments", "waits"),
    [
        (2, 10.0, [0, 0, 0], [0, 0, 5]),  # all at once, then none until a token is back
        (2, 10.0, [0, 0, 5, 5], [0, 0, 0, 5]),
        (2, 10.0, [0, 0, 2, 2], [0, 0, 3, 3]),  # to be refused costs nothing
        (1, 60.0, [0, 59, 60, 61], [0, 1, 0, 59]),
        (3, 3.0, [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]),  # the rate itself is never too much
        (2, 10.0, [0, 100, 100, 100], [0, 0, 0, 5]),  # a bucket holds no more for having been left alone
        (100, 60.0, [0] * 100 + [0], [0] * 100 + [0.6]),
    ],
)
def test_the_bucket_gives_so_many_at_once_and_says_when_the_next(
    calls: int, per_s: float, moments: list[float], waits: list[float]
) -> None:
    buckets = Buckets(calls, per_s)
    assert [round(buckets.take("nlu@pc2", 1000.0 + moment), 6) for moment in moments] == waits


def test_whoever_waits_as_long_as_told_is_let_in() -> None:
    for calls in (3, 7, 11, 13):
        buckets, now = Buckets(calls, 1.0), 123456.789
        for _ in range(200):
            wait = buckets.take("a", now)
            if wait:
                now += wait
                assert buckets.take("a", now) == 0.0


def test_callers_do_not_use_up_each_others_share() -> None:
    buckets = Buckets(1, 60.0)
    assert [buckets.take(caller, 0.0) for caller in ("a", "b", "c")] == [0, 0, 0]
    assert buckets.take("a", 0.0) == 60.0


def test_idle_callers_are_forgotten() -> None:
    buckets = Buckets(10, 1.0)
    for number in range(10_000):
        assert buckets.take(f"caller {number}", number * 0.01) == 0.0
    assert len(buckets) <= 64


def test_with_too_many_active_callers_those_who_come_on_top_share_one_bucket_and_nobody_is_given_more() -> None:
    buckets = Buckets(2, 3600.0, most=8)
    for name in range(8):
        assert buckets.take(str(name), 0.0) == 0.0
    assert [bool(buckets.take(f"made up {number}", 0.0)) for number in range(4)] == [False, False, True, True]
    assert buckets.take("0", 0.0) == 0.0, "who has a bucket keeps it"
    assert buckets.take("0", 0.0) > 0.0
    assert len(buckets) == 9 and OTHERS in buckets._full_at
    assert buckets.take("late", 7300.0) == 0.0
    assert len(buckets) == 1, "all the others have been idle"


def test_a_call_too_many_is_told_who_may_how_often_and_when() -> None:
    buckets = Buckets(1, 60.0)
    assert buckets.refusal(ask(1), 1000.0) is None
    error = buckets.refusal(ask(2), 1020.0)
    assert isinstance(error, RateLimited)
    assert error.details["retry_after"] == pytest.approx(40.0)
    assert error.message == "nlu@pc2 may call kb.find 1 times in 60 s; the next time in 40 s"
    assert buckets.refusal(ask(3), 1060.0) is None
    shown = read(buckets.samples("kb", "find"))
    assert (shown["mesh_rate_limited_total", "kb", "find"], shown["mesh_rate_callers", "kb", "find"]) == (1, 1)
    assert buckets.row() == {"callers": 1, "refused": 1}


@pytest.mark.parametrize(
    ("via", "caller", "expected", "who"),
    [
        ("", "nlu@mainpc", "agent", "nlu@mainpc"),
        ("pc2", "nlu@pc2", "agent", "nlu@pc2"),
        ("operator", "whatever it says", "operator", "operator"),
        ("client:phone", "nlu@pc2", "client", "client:phone"),
    ],
)
def test_what_a_connection_proves_counts_and_not_what_a_caller_claims(
    via: str, caller: str, expected: str, who: str
) -> None:
    request = ask(via=via)._replace(caller=caller)
    assert (origin(request), identity(request)) == (expected, who)


def test_limits_by_origin_are_those_that_are_promised() -> None:
    assert LIMITS == {"agent": None, "operator": None, "client": (100, 60.0), "gateway": (60, 60.0)}


class Share(RuleBasedStateMachine):
    """Whatever comes when: in any window no caller is let in more often than the bucket holds plus what flows in."""

    CALLS, PER_S = 5, 2.0

    def __init__(self) -> None:
        super().__init__()
        self.buckets = Buckets(self.CALLS, self.PER_S, most=3)
        self.now = 1000.0
        self.let_in: dict[str, list[float]] = {}

    @rule(caller=st.sampled_from("abcdef"), count=st.integers(1, 8))
    def call(self, caller: str, count: int) -> None:
        for _ in range(count):
            wait = self.buckets.take(caller, self.now)
            assert 0.0 <= wait <= self.PER_S / self.CALLS + 1e-6, "a token is never further away than one interval"
            if not wait:
                self.let_in.setdefault(caller, []).append(self.now)

    @rule(seconds=st.one_of(st.floats(0.0, 3.0), st.sampled_from([0.4, 2.0, 100.0])))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nobody_has_more_than_his_share(self) -> None:
        for moments in self.let_in.values():
            for first, begin in enumerate(moments):
                for count, end in enumerate(moments[first:], 1):
                    assert count <= self.CALLS + (end - begin) * self.CALLS / self.PER_S + 1e-6

    @invariant()
    def buckets_are_bounded(self) -> None:
        assert len(self.buckets) <= 4


TestShare = Share.TestCase
TestShare.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
