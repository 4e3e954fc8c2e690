"""The processes of a host's cells: who may come in by the door, and what they ask of their host once inside.

The door is a socket in a folder that only this user may enter. A process that was started for a cell proves itself
with the token in its papers, once; what it calls, publishes and reports afterwards counts as its cell's, whatever it
says of itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from mesh.client import Calls
from mesh.clock import Clock
from mesh.config import AgentSpec, MeshConfig
from mesh.errorbus import ErrorDetail, Passed
from mesh.errors import MeshError, PermissionDenied, StartError
from mesh.message import Event, Reply, Request, Responder, decode, encode, replied
from mesh.supervisor.cell.tenancy import Landlord
from mesh.supervisor.loop.doubt import Watcher
from mesh.supervisor.process.papers import Papers
from mesh.tracing import Span, SpanRing
from mesh.transport.session import OF_CELL, Session
from mesh.wire import Hello

DOOR = "cells"
MAX_PATH = 100
SUPERVISOR = "supervisor"
REPORT = "cell_report"
SPANS = "cell_spans"


class Expected(Protocol):
    """A tenancy that waits for its process."""

    service: str
    number: int
    incarnation: int

    @property
    def landlord(self) -> Landlord:
        """The cell it belongs to."""

    def arrived(self, session: Session) -> None:
        """Be given the connection of the process."""


class Nursery:
    """One host's processes by the incarnation they were started for, so a service may have several at a time.

    `publish` takes an event of one, `outgoing` its calls, which `calls` counts; `watcher` doubts what they look like.
    """

    def __init__(
        self, config: MeshConfig, host: str, clock: Clock, *, outgoing: Responder, publish: Callable[[Event], None],
        calls: dict[str, Calls], spans: SpanRing, watcher: Watcher,
    ) -> None:
        self.host = host
        self.watcher = watcher
        self.clock = clock
        self.logs = config.home / host / "logs"
        self._config = config
        self._run = config.home / host / "run"
        self._outgoing = outgoing
        self._publish = publish
        self._calls = calls
        self._spans = spans
        self._door = ""
        self._expected: dict[int, tuple[str, Expected]] = {}
        self._inside: dict[int, Expected] = {}

    def open(self) -> str:
        """Make the folder of the door and return the door's path; raises `StartError`."""
        self._door = door_in(self._run)
        return self._door

    # -- coming in

    def expect(self, one: Expected, spec: AgentSpec, stacks: int) -> Papers:
        """Return the papers of a process that is about to be started."""
        token = secrets.token_hex(32)
        self._expected[one.incarnation] = token, one
        config = self._config.model_copy(update={"agents": {one.service: spec}})
        return Papers(self.host, one.service, one.incarnation, self._door, token, os.getpid(), stacks,
                      config.model_dump_json(), one.number)

    def forget(self, one: Expected) -> None:
        """Let the process of a tenancy in no more, and hear it no more."""
        if self._expected.get(one.incarnation, ("", None))[1] is one:
            del self._expected[one.incarnation]
        if self._inside.get(one.incarnation) is one:
            del self._inside[one.incarnation]

    def authorize(self, hello: Hello) -> None:
        """Raise `PermissionDenied` unless the token of a greeting is that of its service; it is good for once."""
        token, one = self._expected.get(hello.incarnation, ("", None))
        if one is None or one.service != hello.host or not hmac.compare_digest(token.encode(), hello.token.encode()):
            raise PermissionDenied(f"this process does not hold the token of {hello.host}", rule="token")
        del self._expected[hello.incarnation]
        self._inside[hello.incarnation] = one

    def session(self, session: Session, up: bool) -> None:
        """Give a tenancy the connection of its process."""
        one = self._inside.get(session.incarnation)
        if up and one is not None:
            one.arrived(session)

    # -- inside

    def doubts(self) -> bool:
        """Tell whether those of them who look dead may only look so."""
        return self.watcher.doubts(len(self._inside))

    def heard(self, session: Session, event: Event) -> None:
        """Publish what an agent publishes, in its own name."""
        if session.incarnation in self._inside:
            self._publish(event._replace(origin=f"{session.peer}@{self.host}"))

    def handle(self, request: Request) -> Awaitable[Reply]:
        """Answer a request of a process: its reports here, its agent's calls on their way."""
        service, _, incarnation = request.via.removeprefix(OF_CELL).rpartition(":")
        one = self._inside.get(int(incarnation))
        if one is None:
            return _refused(PermissionDenied(f"{service} is no cell of {self.host} any more", rule="token"))
        if request.service == SUPERVISOR and request.operation == REPORT:
            return self._report(one, request)
        if request.service == SUPERVISOR and request.operation == SPANS:
            return self._take_spans(request)
        return self._pass_on(service, request._replace(caller=f"{service}@{self.host}", via=""))

    async def _pass_on(self, service: str, request: Request) -> Reply:
        """Send a call of an agent on its way, counted as if it were made in this process."""
        calls = self._calls.setdefault(service, Calls())
        edge = calls.edges.get(request.target) or calls.to(request.target)
        edge.calls += 1
        reply = await replied(self._outgoing(request))
        if reply.error is not None:
            edge.failed(reply.error.code)
        return reply

    async def _report(self, one: Expected, request: Request) -> Reply:
        """Put what a process reports on the error bus; the reply is its id."""
        try:
            told: Mapping[str, Any] = decode(request.body)
            error = Passed(ErrorDetail.model_validate(told["record"]))
            if told["failed"]:
                error_id = await one.landlord.failed(error, error.detail.operation or "", error.detail.trace_id)
            else:
                error_id = await one.landlord.report(error, severity=error.detail.severity,
                                                     operation=error.detail.operation, trace_id=error.detail.trace_id)
        except (MeshError, ValueError, KeyError, TypeError) as error:
            return Reply(error=PermissionDenied(f"a report of {one.service} does not read: {error}", rule="report"))
        return Reply(encode(error_id), host=self.host)


    async def _take_spans(self, request: Request) -> Reply:
        """Keep what a process has traced."""
        try:
            for fields in decode(request.body)["spans"]:
                self._spans.add(Span(*fields))
        except (MeshError, KeyError, TypeError) as error:
            return Reply(error=PermissionDenied(f"the spans of {request.via} do not read: {error}", rule="report"))
        return Reply(encode(None), host=self.host)


async def _refused(error: MeshError) -> Reply:
    return Reply(error=error)


def door_in(folder: Path) -> str:
    """Return the path of a socket in `folder`, which nobody else may enter then; raises `StartError`.

    A path over 100 bytes, which the system does not take, moves to a folder of this user's in the temporary one.
    """
    if len(os.fsencode(folder / DOOR)) > MAX_PATH:
        name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"mesh-{os.getuid()}-{name}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise StartError(f"{folder} belongs to somebody else; remove it")
        folder.chmod(0o700)
    except OSError as error:
        raise StartError(f"the folder {folder} for the socket of this host's cells cannot be made: {error}; "
                         "make it writable, or set MESH_HOME to one that is") from None
    return str(folder / DOOR)
