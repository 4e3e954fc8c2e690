"""Answers that were given before: how long, to whom, until what happens, and what one call does for many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.cache import Terms
from mesh.cache.terms import INVALIDATED
from mesh.config import CacheRule
from mesh.errors import DeadlineExceeded, InvalidArgument, Overloaded, RemoteFailure
from mesh.message import Event, Items, Reply, Request, encode, replied
from mesh.policy.cache import HostCache
from mesh.records import InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.tracing import SpanRing, Trace
from mesh.transport.deadlines import Deadlines
from tests.policy.calls import ask, code, on_a_loop

FIND = Terms("kb", "find", 60.0, tags=("facts",), depends_on=("kb.add", "memory.add"), topics=("facts.*",))
COUNT = Terms("kb", "count", 60.0)


class Source:
    """Who is asked: each call stays open until the test answers it; `began` is when each reached it."""

    def __init__(self, clock: FakeClock) -> None:
        self.calls: list[Request] = []
        self.began: list[float] = []
        self._clock = clock
        self.open: list[tuple[Request, asyncio.Future[Reply]]] = []

    async def __call__(self, request: Request) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        one = request, answer
        self.calls.append(request)
        self.began.append(self._clock.monotonic())
        self.open.append(one)
        try:
            return await answer
        finally:
            self.open.remove(one)

    async def answer(self, value: object, which: int = 0) -> None:
        await self.reply(Reply(encode(value), host="pc2"), which)

    async def reply(self, reply: Reply, which: int = 0) -> None:
        self.open[which][1].set_result(reply)
        await settle()


class Host:
    """One host's cache in front of a source."""

    def __init__(self, terms: Terms = FIND, *, entries: int = 100, size: int = 10**6) -> None:
        self.clock = FakeClock()
        self.spans = SpanRing()
        self.source = Source(self.clock)
        self.published: list[tuple[str, Any, str]] = []
        self.rows: dict[str, list[InstanceRecord]] = {}
        self.changed: list[str] = []
        self.cache = HostCache("mainpc", self.clock, Deadlines(self.clock), self.spans, entries=entries, size=size,
                               publish=lambda *event: self.published.append(event),
                               instances=lambda service: self.rows.get(service, []), changed=self.changed.append)
        self.handle = self.cache.in_front_of(terms, "v1", self.source)

    async def call(self, question: object = "q", *, timeout: float = 500.0, **fields: Any) -> asyncio.Task[Reply]:
        arguments = question if isinstance(question, dict) else {"q": question}
        request = Request("kb", "find", encode(arguments), self.clock.monotonic() + timeout,
                          fields.pop("trace", Trace.new()), "nlu@mainpc", **fields)

        async def made() -> Reply:
            return await self.handle(request)

        task = asyncio.ensure_future(made())
        await settle()
        return task

    async def filled(self, question: object = "q", value: object = "a", **fields: Any) -> None:
        """Ask once and answer, so that the answer is kept."""
        task = await self.call(question, **fields)
        await self.source.answer(value)
        assert (await task).value() == value

    async def asked(self, question: object = "q", **fields: Any) -> Any:
        """Return what is answered without anybody being asked; None where somebody is."""
        before = len(self.source.calls)
        task = await self.call(question, **fields)
        if len(self.source.calls) == before and task.done():
            return (await task).value()
        task.cancel()
        await settle()
        return None

    def figures(self) -> dict[str, int]:
        row = self.cache.row("kb.find")
        names = ("hits", "stale", "coalesced", "misses", "invalidated", "evicted", "entries")
        return {name: row[name] for name in names if row[name]}


@on_a_loop
async def test_an_answer_is_given_again_until_its_time_is_over() -> None:
    host = Host()
    await host.filled()
    await host.clock.advance(59.9)
    assert await host.asked() == "a"
    await host.clock.advance(0.1)
    assert await host.asked() is None
    assert host.figures() == {"hits": 1, "misses": 2}


@on_a_loop
async def test_the_time_of_an_answer_begins_with_the_call_that_got_it() -> None:
    host = Host()
    task = await host.call()
    await host.clock.advance(59)
    await host.source.answer("a")
    await task
    assert await host.asked() == "a"
    await host.clock.advance(1)
    assert await host.asked() is None


@on_a_loop
async def test_none_and_empty_results_are_kept_like_any_other() -> None:
    values: tuple[Any, ...] = (None, [], "", 0, False, {})
    for value in values:
        host = Host()
        await host.filled(value=value)
        reply = await (await host.call())
        assert (reply.value(), len(host.source.calls)) == (value, 1)


@on_a_loop
async def test_errors_and_streams_are_not_kept() -> None:
    class Nothing(Items):
        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            pass

        def drop(self) -> None:
            pass

    host = Host()
    for reply in (Reply(error=RemoteFailure("broken", type="ValueError")), Reply(items=Nothing())):
        await host.call()
        await host.source.reply(reply)
        assert await host.asked() is None
    await host.call(credit=5)
    await host.source.answer("a")
    assert await host.asked() is None


@on_a_loop
async def test_what_is_given_is_the_answer_as_it_came() -> None:
    host = Host()
    await host.filled(value={"results": [1, 2]})
    first, second = [await (await host.call()) for _ in range(2)]
    assert first == second == Reply(encode({"results": [1, 2]}), host="pc2")
    first.value()["results"].append(3)
    assert (await (await host.call())).value() == {"results": [1, 2]}


@on_a_loop
async def test_the_answer_of_one_place_is_not_anothers() -> None:
    host = Host()
    await host.filled(to_host="pc2")
    assert await host.asked(to_host="pc2") == "a"
    assert await host.asked() is None
    assert await host.asked(to_host="mainpc") is None


@on_a_loop
async def test_other_code_does_not_give_the_answers_of_this_one() -> None:
    host = Host()
    await host.filled()
    host.handle = host.cache.in_front_of(FIND, "v2", host.source)
    assert host.figures()["invalidated"] == 1
    assert await host.asked() is None


@on_a_loop
async def test_a_rule_that_config_changes_holds_for_what_is_kept_already() -> None:
    host = Host()
    await host.filled()
    await host.clock.advance(10)
    host.handle = host.cache.in_front_of(Terms(**{**_fields(FIND), "ttl_s": 11.0}), "v1", host.source)
    assert await host.asked() == "a"
    host.handle = host.cache.in_front_of(Terms(**{**_fields(FIND), "ttl_s": 9.0}), "v1", host.source)
    assert await host.asked() is None


def _fields(of: Terms) -> dict[str, Any]:
    return {name: getattr(of, name) for name in Terms.__slots__}


# -- one call for many


@on_a_loop
async def test_many_who_ask_the_same_at_once_make_one_call() -> None:
    host = Host()
    tasks = [await host.call() for _ in range(50)]
    assert len(host.source.calls) == 1
    await host.source.answer("a")
    assert [(await task).value() for task in tasks] == ["a"] * 50
    assert host.figures() == {"misses": 1, "coalesced": 49, "entries": 1}


@on_a_loop
async def test_who_has_less_time_ends_at_its_own_deadline() -> None:
    host = Host()
    leader = await host.call(timeout=100)
    hasty = await host.call(timeout=1)
    await host.clock.advance(1.1)
    assert code(await hasty) == "deadline_exceeded"
    assert not leader.done()
    await host.source.answer("a")
    assert (await leader).value() == "a"


@on_a_loop
async def test_a_leader_that_is_cancelled_is_followed_by_the_one_with_the_most_time() -> None:
    host = Host()
    leader = await host.call()
    followers = [await host.call(timeout=seconds) for seconds in (10, 90, 20)]
    leader.cancel()
    await settle()
    assert [request.deadline for request in host.source.calls] == [1500.0, 1090.0]
    assert len(host.source.open) == 1
    await host.source.answer("a")
    assert [(await task).value() for task in followers] == ["a"] * 3


@on_a_loop
async def test_a_leader_whose_own_time_was_over_is_followed_too() -> None:
    host = Host()
    leader, follower = await host.call(timeout=1), await host.call(timeout=50)
    await host.source.reply(Reply(error=DeadlineExceeded("too late", began="yes")))
    assert code(await leader) == "deadline_exceeded"
    assert [request.deadline for request in host.source.calls] == [1001.0, 1050.0]
    await host.source.answer("a")
    assert (await follower).value() == "a"


@on_a_loop
async def test_any_other_error_is_everybodys_and_each_has_its_own() -> None:
    host = Host()
    tasks = [await host.call() for _ in range(3)]
    await host.source.reply(Reply(error=RemoteFailure("broken", type="ValueError")))
    replies = [await task for task in tasks]
    assert [code(reply) for reply in replies] == ["remote_failure"] * 3
    assert len({id(reply.error) for reply in replies}) == 3
    assert len(host.source.calls) == 1


@on_a_loop
async def test_a_follower_that_is_cancelled_takes_nobody_along() -> None:
    host = Host()
    leader, gone, stays = [await host.call() for _ in range(3)]
    gone.cancel()
    await host.source.answer("a")
    assert [(await leader).value(), (await stays).value(), gone.cancelled()] == ["a", "a", True]


@on_a_loop
async def test_a_call_that_takes_longer_than_answers_live_is_not_joined_any_more() -> None:
    host = Host()
    slow = await host.call()
    await host.clock.advance(60)
    fresh = await host.call()
    assert len(host.source.open) == 2
    await host.source.answer("new", 1)
    await host.source.answer("old", 0)
    assert ((await slow).value(), (await fresh).value()) == ("old", "new")
    assert await host.asked() == "new"


# -- given while a new one is fetched


@on_a_loop
async def test_a_stale_answer_is_given_at_once_and_replaced_by_one_call() -> None:
    host = Host(Terms("kb", "find", 60.0, stale_s=30.0))
    await host.filled(value="old")
    await host.clock.advance(70)
    replies = [(await (await host.call())).value() for _ in range(5)]
    assert (replies, len(host.source.open)) == (["old"] * 5, 1)
    await host.source.answer("new")
    assert await host.asked() == "new"
    assert host.figures() == {"hits": 1, "stale": 5, "misses": 1, "entries": 1}


@on_a_loop
async def test_what_is_older_than_both_times_is_never_given() -> None:
    host = Host(Terms("kb", "find", 60.0, stale_s=30.0))
    await host.filled(value="old")
    await host.clock.advance(90)
    task = await host.call()
    assert not task.done()
    await host.source.answer("new")
    assert (await task).value() == "new"


@on_a_loop
async def test_a_replacement_that_fails_leaves_the_stale_answer_its_time() -> None:
    host = Host(Terms("kb", "find", 60.0, stale_s=30.0))
    await host.filled(value="old")
    await host.clock.advance(70)
    await host.call()
    await host.source.reply(Reply(error=RemoteFailure("broken", type="ValueError")))
    assert (await (await host.call())).value() == "old"
    assert len(host.source.calls) == 3
    await host.cache.close()


# -- what no longer holds


@on_a_loop
async def test_an_invalidation_by_tag_dependency_topic_operation_or_service_lets_answers_go() -> None:
    for label in ("facts", "kb.add", "memory.add", "kb.find", "kb", "*"):
        host = Host()
        await host.filled()
        assert host.cache.invalidate([label]) == 1
        assert await host.asked() is None
    host = Host()
    await host.filled()
    assert host.cache.invalidate(["others", "kb.count"]) == 0
    assert await host.asked() == "a"


@on_a_loop
async def test_an_answer_fetched_before_an_invalidation_is_not_kept_after_it() -> None:
    host = Host()
    before = await host.call()
    host.cache.invalidate(["facts"])
    await host.source.answer("old")
    assert (await before).value() == "old"
    assert await host.asked() is None


@on_a_loop
async def test_who_asks_after_an_invalidation_does_not_join_a_call_from_before() -> None:
    host = Host()
    before = await host.call()
    host.cache.invalidate(["facts"])
    after = await host.call()
    assert len(host.source.open) == 2
    await host.source.answer("new", 1)
    assert (await after).value() == "new"
    await host.source.answer("old", 0)
    assert (await before).value() == "old"
    assert await host.asked() == "new"


@on_a_loop
async def test_a_replacement_fetched_before_an_invalidation_is_not_kept_either() -> None:
    host = Host(Terms("kb", "find", 60.0, stale_s=30.0, tags=("facts",)))
    await host.filled(value="old")
    await host.clock.advance(70)
    await host.call()
    host.cache.invalidate(["facts"])
    await host.source.answer("old too")
    assert await host.asked() is None


def event(topic: str, payload: object) -> Event:
    return Event(topic, encode(payload), "kb@pc2", 0.0)


def announced(traits: dict[str, Any], host: str = "pc2", version: str = "v1") -> InstanceRecord:
    return InstanceRecord("kb", host, 1, "ready", operations=("add", "find"), version=version, traits=traits)


def kept(**cache: Any) -> dict[str, Any]:
    return {"find": {"idempotent": True, "cache": {"ttl_s": 60, **cache}}}


@on_a_loop
async def test_the_event_of_another_host_invalidates_and_one_that_does_not_read_says_nothing() -> None:
    host = Host()
    await host.filled()
    unreadable: tuple[Any, ...] = (None, [], {"tags": "facts"}, {"tags": [7, "", "x" * 300]}, {"labels": ["facts"]})
    for payload in unreadable:
        host.cache.hear(event(INVALIDATED, payload))
    host.cache.hear(Event(INVALIDATED, b"\xc1", "kb@pc2", 0.0))
    assert await host.asked() == "a"
    host.cache.hear(event(INVALIDATED, {"tags": ["others", "facts"]}))
    assert await host.asked() is None


@on_a_loop
async def test_events_that_answers_depend_on_are_heard_and_let_them_go() -> None:
    host = Host()
    await host.filled()
    host.rows["kb"] = [announced(kept(topics=["facts.*"]))]
    assert host.cache.learn(["kb"])
    assert host.cache.patterns() == (INVALIDATED, "facts.*")
    host.cache.hear(event("facts.all.new", None))
    assert await host.asked() == "a"
    host.cache.hear(event("facts.new", None))
    assert await host.asked() is None
    host.rows["kb"] = [announced(kept())]
    assert host.cache.learn(["kb"])
    assert host.cache.patterns() == (INVALIDATED,)


@on_a_loop
async def test_every_host_is_told_when_an_operation_has_run_that_answers_depend_on() -> None:
    for reply, told in (
        (Reply(encode(1)), True),
        (Reply(error=RemoteFailure("broken", type="ValueError")), True),
        (Reply(error=DeadlineExceeded("stopped", began="yes")), True),
        (Reply(error=DeadlineExceeded("too late", began="no")), False),
        (Reply(error=InvalidArgument("no fact", path="fact")), False),
        (Reply(error=Overloaded("full", retry_after=1.0)), False),
    ):
        host = Host()
        host.rows["kb"] = [announced(kept(depends_on=["add"]))]
        host.cache.learn(["kb"])
        for operation in ("add", "find"):
            async def run(request: Request, reply: Reply = reply) -> Reply:
                return reply

            assert await replied(host.cache.watching(ask(target=f"kb.{operation}"), run)) is reply
        expected = [(INVALIDATED, {"tags": ["kb.add"]}, "supervisor@mainpc")] if told else []
        assert host.published == expected, code(reply)


@on_a_loop
async def test_a_cancelled_operation_may_have_changed_something() -> None:
    host = Host()
    host.rows["kb"] = [announced(kept(depends_on=["add"]))]
    host.cache.learn(["kb"])
    task = asyncio.ensure_future(replied(host.cache.watching(ask(target="kb.add"), host.source)))
    await settle()
    task.cancel()
    await settle()
    assert [topic for topic, _, _ in host.published] == [INVALIDATED]


def test_what_a_service_announces_counts_until_it_announces_something_else() -> None:
    host = Host()
    host.rows["kb"] = [announced(kept(depends_on=["add", "memory.add"]))]
    host.cache.learn(["kb"])
    watched = host.cache._dependencies
    assert watched.operations == {"kb": {"add"}, "memory": {"add"}}
    host.rows["kb"] = []
    host.cache.learn(["kb"])
    assert watched.operations == {"kb": {"add"}, "memory": {"add"}}
    host.rows["kb"] = [announced(kept())]
    host.cache.learn(["kb"])
    assert watched.operations == {}
    assert host.changed == ["kb", "kb"]


RULE = CacheRule()


@pytest.mark.parametrize(("traits", "rule", "ttl"), [
    (kept(), RULE, 60.0),
    (kept(), None, None),
    (kept(), CacheRule(ttl_s=5.0), 5.0),
    ({"find": {"idempotent": True}}, RULE, None),
    ({"find": {"idempotent": True}}, CacheRule(ttl_s=5.0), None),
    ({"find": {"idempotent": True}}, CacheRule(ttl_s=5.0, undeclared=True), 5.0),
    ({"find": {"cache": {"ttl_s": 60}}}, CacheRule(ttl_s=5.0, undeclared=True), None),
    ({}, CacheRule(ttl_s=5.0, undeclared=True), None),
])
def test_what_is_kept_is_declared_or_configured_and_idempotent(
    traits: dict[str, Any], rule: CacheRule | None, ttl: float | None
) -> None:
    host = Host()
    host.rows["kb"] = [announced(traits)]
    host.cache.learn(["kb"])
    handler = host.cache.over("kb", "find", rule, host.source)
    assert (handler is host.source) == (ttl is None), "a policy that is off is not there"
    assert [row["ttl_s"] for row in host.cache.rows("kb") if ttl is not None] == ([] if ttl is None else [ttl])


def test_instances_that_do_not_agree_keep_nothing_and_other_code_is_another_version() -> None:
    host = Host()
    host.rows["kb"] = [announced(kept(), "pc2", "v1"), announced({}, "mainpc", "v2")]
    host.cache.learn(["kb"])
    assert host.cache.over("kb", "find", RULE, host.source) is host.source
    host.rows["kb"] = [announced(kept(), "pc2", "v1"), announced(kept(), "mainpc", "v2")]
    host.cache.learn(["kb"])
    assert host.cache.over("kb", "find", RULE, host.source) is not host.source
    assert host.cache._announced["kb"][0] == "v1.1+v2.1"


@on_a_loop
async def test_a_rule_that_is_turned_off_lets_the_answers_go() -> None:
    host = Host()
    host.rows["kb"] = [announced(kept())]
    host.cache.learn(["kb"])
    host.handle = host.cache.over("kb", "find", RULE, host.source)
    await host.filled()
    host.cache.over("kb", "find", None, host.source)
    assert (len(host.cache._memory), host.cache.rows()) == (0, [])


@on_a_loop
async def test_everything_goes_when_an_invalidation_may_have_been_missed() -> None:
    host = Host()
    await host.filled()
    under_way = await host.call("other")
    host.cache.clear()
    await host.source.answer("old")
    assert (await under_way).value() == "old"
    assert (await host.asked(), await host.asked("other")) == (None, None)


# -- how it shows


@on_a_loop
async def test_a_sampled_call_that_nobody_was_asked_leaves_a_mark() -> None:
    host = Host()
    await host.filled()
    trace = Trace.new(sampled=True)
    await host.asked(trace=trace)
    await host.asked()
    (span,) = host.spans
    assert (span.trace_id, span.span_id, span.kind, span.service, span.host, span.caller) == (
        trace.trace_id, trace.span_id, "cache", "kb", "mainpc", "nlu@mainpc")


@on_a_loop
async def test_the_figures_are_those_of_the_service() -> None:
    host = Host(entries=2)
    for question in "abc":
        await host.filled(question)
    await host.asked("c")
    host.cache.in_front_of(COUNT, "v1", host.source)
    samples = {(sample.instrument.name, sample.labels): sample.value for sample in host.cache.samples()}
    assert samples["mesh_cache_calls_total", ("kb", "hit")] == 1
    assert samples["mesh_cache_calls_total", ("kb", "miss")] == 3
    assert samples["mesh_cache_evicted_total", ("kb",)] == 1
    assert samples["mesh_cache_invalidated_total", ("kb",)] == 0
    assert samples["mesh_cache_entries", ("kb",)] == 2
    assert samples["mesh_cache_bytes", ("kb",)] == host.cache.row("kb.find")["bytes"] > 0
    assert [row["operation"] for row in host.cache.rows("kb")] == ["count", "find"]
    assert (host.cache.rows("memory"), host.cache.row("kb.add")) == ([], {})


class Invariant(RuleBasedStateMachine):
    """Whatever is asked, answered, invalidated and cancelled in whatever order, over whatever time.

    The source answers with the number of the change that was the last when its call began and the moment of that.
    """

    TTL, STALE, ENTRIES, SIZE = 10.0, 5.0, 5, 4000

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.host = self.loop.run_until_complete(self.made())
        self.changes = 0
        self.began: dict[int, tuple[int, float]] = {}
        self.calls: list[tuple[asyncio.Task[Reply], int, float]] = []

    async def made(self) -> Host:
        return Host(Terms("kb", "find", self.TTL, self.STALE, tags=("facts",)), entries=self.ENTRIES,
                    size=self.SIZE)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @rule(questions=st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4))
    def fill(self, questions: list[str]) -> None:
        for question in questions:
            self.ask(question, 100.0)
            self.answer(-1, 2)

    @rule(question=st.sampled_from("abcdefg"), timeout=st.sampled_from([1.0, 4.0, 100.0]))
    def ask(self, question: str, timeout: float) -> None:
        self.calls.append((self.run(self.host.call(question, timeout=timeout)), self.changes,
                           self.host.clock.monotonic()))
        self.note()

    @rule(which=st.integers(0, 20), fails=st.integers(0, 5))
    def answer(self, which: int, fails: int) -> None:
        source = self.host.source
        if source.open:
            which %= len(source.open)
            request = source.open[which][0]
            if fails == 0:
                self.run(source.reply(Reply(error=RemoteFailure("broken", type="ValueError")), which))
            elif fails == 1:
                self.run(source.reply(Reply(error=DeadlineExceeded("late", began="yes")), which))
            else:
                self.run(source.answer([*self.began[id(request)], "x" * 100 * fails], which))
        self.note()

    @rule()
    def change(self) -> None:
        self.changes += 1
        self.host.cache.invalidate(["facts"])
        self.note()

    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        left = [task for task, _, _ in self.calls if not task.done()]
        if left:
            left[which % len(left)].cancel()
            self.run(settle())
        self.note()

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 14.0]))
    def wait(self, seconds: float) -> None:
        self.run(self.host.clock.advance(seconds))
        self.note()

    def note(self) -> None:
        """Remember when each call that has newly reached the source began."""
        for request, moment in zip(self.host.source.calls, self.host.source.began, strict=True):
            self.began.setdefault(id(request), (self.changes, moment))

    @invariant()
    def at_most_one_call_of_a_question_that_anybody_may_join(self) -> None:
        now = self.host.clock.monotonic()
        fresh = [request.body for request, _ in self.host.source.open
                 if self.began[id(request)][0] == self.changes and now - self.began[id(request)][1] < self.TTL]
        assert len(fresh) == len(set(fresh))

    @invariant()
    def bounds_hold(self) -> None:
        row = self.host.cache.row("kb.find")
        assert row["entries"] <= self.ENTRIES and row["bytes"] <= self.SIZE

    @invariant()
    def nothing_given_is_too_old(self) -> None:
        for task, changes, moment in self.calls:
            if task.done() and not task.cancelled() and task.result().error is None:
                told, began, _ = task.result().value()
                assert told >= changes, "fetched before an invalidation that was over when it was asked for"
                assert moment - began < self.TTL + self.STALE, "older than its rule says"

    def teardown(self) -> None:
        while self.host.source.open:
            self.answer(0, 2)
        self.run(self.host.clock.advance(200))
        assert all(task.done() for task, _, _ in self.calls), "somebody waits for ever"
        assert not self.host.cache._flights
        self.run(self.host.cache.close())
        self.nothing_given_is_too_old()
        self.loop.close()


TestInvariant = Invariant.TestCase
TestInvariant.settings = settings(max_examples=60, stateful_step_count=40, deadline=None,
                                  phases=[Phase.reuse, Phase.generate])
