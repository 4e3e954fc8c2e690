"""Who may come in by the door of the cells, and what counts of what a process says inside."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from mesh.client import Calls
from mesh.clock import Clock
from mesh.config import AgentSpec, MeshConfig, RegistryConfig
from mesh.errorbus import Passed, describe
from mesh.errors import PermissionDenied, StartError, Unavailable
from mesh.message import Event, Reply, Request, decode, encode
from mesh.supervisor.cell.stragglers import Stragglers
from mesh.supervisor.loop.doubt import Watcher
from mesh.supervisor.process.nursery import Nursery, door_in
from mesh.testing import FakeClock
from mesh.tracing import Span, SpanRing, Trace
from mesh.transport.session import Session
from mesh.wire import Hello

SPEC = AgentSpec(service="lamp", file=Path("/agents/lamp.py"), class_name="Lamp", isolation="process",
                 settings={"password": "of the lamp"})
OTHER = AgentSpec(service="safe", file=Path("/agents/safe.py"), class_name="Safe", settings={"password": "of the safe"})


class Rig:
    """A nursery and all it was asked to do."""

    def __init__(self, folder: Path) -> None:
        self.passed_on: list[Request] = []
        self.published: list[Event] = []
        self.told: list[str] = []
        self.answer = Reply(encode("answer"))
        self.calls: dict[str, Calls] = {}
        self.spans = SpanRing()
        config = MeshConfig(mesh="home", registry=RegistryConfig(host="mainpc", port=1), hosts={}, root=folder,
                            home=folder / ".mesh", agents={"lamp": SPEC, "safe": OTHER})
        self.nursery = Nursery(config, "mainpc", Clock(), outgoing=self._pass_on, publish=self.published.append,
                               calls=self.calls, spans=self.spans,
                               watcher=Watcher(Clock(), lambda: (0.0, 0.0), self.told.append))

    async def _pass_on(self, request: Request) -> Reply:
        self.passed_on.append(request)
        return self.answer

    def ask(self, target: str, arguments: Any = None, service: str = "lamp", incarnation: int = 5) -> Reply:
        """Have a process ask something of its host."""
        called, _, operation = target.partition(".")
        request = Request(called, operation, encode(arguments), 1e9, Trace.new(), "boss@pc2",
                          via=f"cell:{service}:{incarnation}")

        async def asked() -> Reply:
            return await self.nursery.handle(request)

        return asyncio.run(asked())


class Lodger:
    """A tenancy that waits for its process, and its own landlord."""

    def __init__(self, service: str = "lamp", incarnation: int = 5) -> None:
        self.service = service
        self.number = 1
        self.incarnation = incarnation
        self.sessions: list[Session] = []
        self.told: list[tuple[str, BaseException | str]] = []
        self.stragglers = Stragglers(service, Path(), FakeClock(), lambda: 1.0, lambda *_, **__: None)

    @property
    def landlord(self) -> Lodger:
        return self

    def arrived(self, session: Session) -> None:
        self.sessions.append(session)

    async def report(
        self, error: BaseException | str, *, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        self.told.append((severity, error))
        return "mainpc-000001"

    async def failed(self, error: Exception, operation: str, trace_id: str | None = None) -> str:
        self.told.append((f"failed {operation}", error))
        return "mainpc-000002"

    def gone(self, error: Exception) -> None:
        self.told.append(("gone", error))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def hello(token: str, service: str = "lamp", incarnation: int = 5) -> Hello:
    return Hello("home", "cell", service, incarnation, token=token)


def connection(incarnation: int = 5) -> Session:
    """Return the connection of a process, as far as the nursery looks at it."""
    return cast("Session", type("Connection", (), {"peer": "lamp", "incarnation": incarnation})())


def let_in(rig: Rig, one: Lodger) -> None:
    """Have the process of a tenancy come in."""
    rig.nursery.authorize(hello(rig.nursery.expect(one, SPEC, 9).token, one.service))


# -- the door


def test_a_token_is_good_for_its_service_and_for_once(rig: Rig) -> None:
    papers = rig.nursery.expect(Lodger(), SPEC, 9)
    for wrong in (hello(""), hello(papers.token[:-1]), hello(papers.token, "safe"), hello("é")):
        with pytest.raises(PermissionDenied, match="does not hold the token"):
            rig.nursery.authorize(wrong)
    rig.nursery.authorize(hello(papers.token))
    with pytest.raises(PermissionDenied):
        rig.nursery.authorize(hello(papers.token))


def test_two_processes_of_one_service_come_in_each_for_its_own_start(rig: Rig) -> None:
    first, second = Lodger(), Lodger(incarnation=6)
    before, after = rig.nursery.expect(first, SPEC, 9), rig.nursery.expect(second, SPEC, 9)
    with pytest.raises(PermissionDenied):
        rig.nursery.authorize(hello(before.token, incarnation=6))
    rig.nursery.authorize(hello(before.token))
    rig.nursery.authorize(hello(after.token, incarnation=6))
    old, new = connection(), connection(6)
    for session in (old, new):
        rig.nursery.session(session, True)
        rig.nursery.session(session, False)
    assert (first.sessions, second.sessions) == ([old], [new])
    rig.nursery.forget(first)
    assert isinstance(rig.ask("store.read").error, PermissionDenied)
    assert rig.ask("store.read", incarnation=6).value() == "answer"


def test_a_start_that_is_given_up_makes_its_token_worthless(rig: Rig) -> None:
    one = Lodger()
    papers = rig.nursery.expect(one, SPEC, 9)
    rig.nursery.forget(one)
    with pytest.raises(PermissionDenied):
        rig.nursery.authorize(hello(papers.token))


def test_the_papers_hold_one_agent_and_the_secrets_of_no_other(rig: Rig) -> None:
    papers = rig.nursery.expect(Lodger(), SPEC, 9)
    assert (papers.host, papers.service, papers.incarnation, papers.parent, papers.stacks) == (
        "mainpc", "lamp", 5, os.getpid(), 9)
    assert list(papers.mesh().agents) == ["lamp"] and papers.mesh().agents["lamp"] == SPEC
    assert "of the safe" not in papers.config


def test_the_door_is_in_a_folder_of_this_users_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    path = door_in(tmp_path / "run")
    assert path == str(tmp_path / "run" / "cells") and (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_a_path_that_is_too_long_for_a_socket_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    path = door_in(deep)
    try:
        assert path == door_in(deep) and path != door_in(tmp_path / ("c" * 60) / ("b" * 60))
        assert Path(path).parent.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path)
    finally:
        Path(path).unlink(missing_ok=True)
        for name in ("a", "c"):
            Path(door_in(tmp_path / (name * 60) / ("b" * 60))).parent.rmdir()


def test_a_folder_that_is_no_folder_or_anothers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StartError, match="belongs to somebody else"):
        door_in(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be made"):
        door_in(tmp_path / "file" / "run")
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(StartError, match="belongs to somebody else"):
        door_in(tmp_path / "real")


# -- inside


def test_a_call_goes_on_in_the_name_of_the_cell_and_is_counted(rig: Rig) -> None:
    let_in(rig, Lodger())
    assert rig.ask("store.read", {"key": "a"}).value() == "answer"
    rig.answer = Reply(error=Unavailable("away", retry_after=1.0))
    assert rig.ask("store.read").error is rig.answer.error
    assert [(each.caller, each.via, each.target) for each in rig.passed_on] == [("lamp@mainpc", "", "store.read")] * 2
    edge = rig.calls["lamp"].edges["store.read"]
    assert (edge.calls, edge.codes, edge.last_error) == (2, {"unavailable": 1}, "unavailable")


def test_a_process_that_was_forgotten_is_no_cell_any_more(rig: Rig) -> None:
    one = Lodger()
    let_in(rig, one)
    rig.nursery.forget(one)
    assert isinstance(rig.ask("store.read").error, PermissionDenied)
    rig.nursery.heard(connection(), Event("a", b"", "lamp@mainpc", 1.0))
    assert rig.passed_on == [] and rig.published == []


def test_an_event_is_published_in_the_name_of_the_cell(rig: Rig) -> None:
    let_in(rig, Lodger())
    event = Event("kitchen.light", encode(True), "boss@pc2", 5.0)
    rig.nursery.heard(connection(), event)
    assert rig.published == [event._replace(origin="lamp@mainpc")]


def test_what_goes_wrong_inside_is_told_to_the_landlord_as_it_was_described(rig: Rig) -> None:
    one = Lodger()
    let_in(rig, one)
    try:
        raise ValueError("no licence file")
    except ValueError as error:
        record = describe(error, service="boss", host="pc2", time=5.0, operation="read", trace_id="ab")
    told = record.model_dump(mode="json")
    assert rig.ask("supervisor.cell_report", {"record": told, "failed": True}).value() == "mainpc-000002"
    assert rig.ask("supervisor.cell_report", {"record": told, "failed": False}).value() == "mainpc-000001"
    (how, failed), (severity, reported) = one.told
    assert (how, severity) == ("failed read", "error")
    assert isinstance(failed, Passed) and isinstance(reported, Passed)
    again = describe(failed, service="lamp", host="mainpc", time=9.0, decision="restart")
    assert (again.type, again.message, again.fingerprint) == ("ValueError", "no licence file", record.fingerprint)
    assert (again.service, again.host, again.time, again.decision) == ("lamp", "mainpc", 5.0, "restart")
    assert "no licence file" in again.traceback


@pytest.mark.parametrize("body", [None, {}, {"record": {}, "failed": True}, {"record": 5, "failed": True}])
def test_a_report_that_does_not_read_is_refused(rig: Rig, body: Any) -> None:
    let_in(rig, Lodger())
    assert isinstance(rig.ask("supervisor.cell_report", body).error, PermissionDenied)


def test_spans_are_kept_and_what_is_none_is_refused(rig: Rig) -> None:
    let_in(rig, Lodger())
    span = Span(b"t" * 16, b"s" * 8, b"p" * 8, "store", "read", "mainpc", 1.0, 0.5)
    assert rig.ask("supervisor.cell_spans", {"spans": [list(span)]}).error is None
    assert list(rig.spans) == [span]
    assert isinstance(rig.ask("supervisor.cell_spans", {"spans": [[1]]}).error, PermissionDenied)
    assert isinstance(rig.ask("supervisor.cell_spans", None).error, PermissionDenied)


def test_an_operation_of_the_host_is_the_hosts_to_answer(rig: Rig) -> None:
    let_in(rig, Lodger())
    assert decode(rig.ask("supervisor.status").body) == "answer" and len(rig.passed_on) == 1
