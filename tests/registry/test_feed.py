"""The feed: when news leaves, and what each subscriber is told."""

from __future__ import annotations

import msgpack

from registry.changes import DesiredChange, HostChange
from registry.feed import BATCH, Feed
from registry.table import Table
from tests.registry.rows import host


def test_changes_wait_for_company_and_the_death_of_a_host_does_not() -> None:
    feed = Feed(Table(1))
    assert feed.due() is None
    feed.changed(10.0, urgent=False)
    feed.changed(10.04, urgent=False)
    assert feed.due() == 10.0 + BATCH
    feed.changed(10.045, urgent=True)
    assert feed.due() == 10.045
    feed.news()
    assert feed.due() is None


def test_each_subscriber_is_told_exactly_what_it_lacks() -> None:
    table = Table(5)
    feed = Feed(table)
    feed.subscribe("mainpc", 0)
    table.record(HostChange("pc2", host()))
    feed.subscribe("pc2", 1)
    table.record(DesiredChange("nlu", "pc2", "stopped"))
    feed.subscribe("pc3", 2)
    news = {name: (revision, msgpack.unpackb(body)) for name, revision, body in feed.news()}
    assert set(news) == {"mainpc", "pc2"}
    assert [change["kind"] for change in news["mainpc"][1]["changes"]] == ["host", "desired"]
    assert [change["kind"] for change in news["pc2"][1]["changes"]] == ["desired"]
    assert news["pc2"] == (2, {"epoch": 5, "revision": 2, "changes": news["pc2"][1]["changes"]})


def test_who_could_not_be_told_lacks_more_the_next_time_and_in_the_end_gets_a_snapshot() -> None:
    table = Table(5, log=2)
    feed = Feed(table)
    for name in ("slow", "quick"):
        feed.subscribe(name, 0)
    for number in range(3):
        table.record(HostChange("pc2", host(incarnation=number)))
        for name, revision, body in feed.news():
            if name == "quick":
                feed.told(name, revision)
                assert len(msgpack.unpackb(body)["changes"]) == 1
    assert {name: "snapshot" in msgpack.unpackb(body) for name, _, body in feed.news()} == {"slow": True}
    feed.unsubscribe("slow")
    feed.told("slow", 9)
    assert feed.news() == []


def test_alike_subscribers_share_one_encoding() -> None:
    table = Table(5)
    feed = Feed(table)
    for number in range(10):
        feed.subscribe(f"pc{number}", 0)
    table.record(HostChange("pc2", host()))
    assert len({id(body) for _, _, body in feed.news()}) == 1
