"""Admins hear of each change of others once, and of the death of a host from one of those that are left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from mesh.directory import Directory
from mesh.records import HostRecord
from mesh.supervisor.errors.reporter import Reporter
from mesh.supervisor.news import News
from mesh.transport.link import LEFT

HOST = HostRecord("tv", 1, "127.0.0.1", 1, 2, "", "", "ok", 1)


class Heard:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.occasions: list[str | None] = []
        self.troubles: list[tuple[str, str]] = []

    def __call__(self, error: str, *, severity: str, service: str, occasion: str | None = None) -> None:
        self.told.append((severity, error))
        self.occasions.append(occasion)

    def trouble(self, kind: str, text: str, severity: str = "warning") -> None:
        self.troubles.append((kind, text))


def news(host: str, *others: HostRecord) -> tuple[News, Heard]:
    heard, directory = Heard(), Directory()
    rows = [replace(HOST, name=host), *others]
    directory.replace(1, 1, {"settled": True, "hosts": [row.to_wire() for row in rows], "instances": [],
                             "desired": [], "overrides": []})
    return News(host, directory, cast(Reporter, cast(Any, heard))), heard


@pytest.mark.parametrize(("host", "occasion"), [("mainpc", "host_dead"), ("pc2", None)])
def test_of_all_that_are_well_one_tells_people_of_a_death(host: str, occasion: str | None) -> None:
    others = [replace(HOST, name=name) for name in ("mainpc", "pc2") if name != host]
    it, heard = news(host, *others)
    dead = replace(HOST, state="dead", reason="its link is lost")
    it.of_host(HOST, dead)
    it.of_host(dead, dead)
    assert heard.told == [("critical", "host tv is dead: its link is lost")] and heard.occasions == [occasion]
    it.of_host(dead, HOST)
    assert heard.told[1:] == [("info", "host tv is ok again")]


def test_a_host_that_is_new_busy_or_oneself_is_no_news() -> None:
    it, heard = news("tv")
    it.of_host(None, replace(HOST, name="pc2"))
    it.of_host(replace(HOST, name="pc2"), replace(HOST, name="pc2", state="busy"))
    it.of_host(HOST, replace(HOST, state="dead"))
    it.of_host(HOST, None)
    assert heard.told == []


def test_a_link_is_lost_only_if_it_was_up_and_its_peer_did_not_leave() -> None:
    it, heard = news("mainpc")
    it.of_link("pc2", False, "refused")
    for _ in range(2):
        it.of_link("pc2", True, "")
        it.of_link("pc2", False, LEFT)
    it.of_link("registry", True, "")
    it.of_link("registry", False, "closed")  # which is told by what follows the registry
    assert heard.troubles == []
    it.of_link("pc2", True, "")
    it.of_link("pc2", False, "closed the connection")
    it.of_link("pc2", False, "closed the connection")
    assert heard.troubles == [("link:pc2", "the link to pc2 is lost: closed the connection")]
