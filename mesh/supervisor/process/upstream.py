"""The landlord of an agent in a process of its own: its reports go up the connection to the real one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Mapping
from contextvars import Context
from typing import Any, NoReturn

from mesh.client import Client
from mesh.clock import Clock
from mesh.config import AgentSpec
from mesh.errorbus import Severity, describe
from mesh.errors import MeshError
from mesh.message import Responder
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.cell.stragglers import Stragglers
from mesh.supervisor.process.nursery import REPORT, SPANS, SUPERVISOR
from mesh.tracing import Span, SpanRing

PATIENCE = 5.0
POST_SECONDS = 0.1
MOST_SPANS = 256
INTERRUPTED = 130

log = logging.getLogger("mesh.process")


class SpanPost(SpanRing):
    """Spans on their way to the host, which keeps them; posted together 0.1 s after the first, 1,024 at most wait."""

    def __init__(self, host: str, exchange: Responder, clock: Clock, sample: float) -> None:
        super().__init__(0, sample=sample)
        self._client = Client(f"{SUPERVISOR}@{host}", exchange, clock)
        self._clock = clock
        self._waiting: deque[Span] = deque(maxlen=1024)
        self._posting: asyncio.Task[None] | None = None

    def add(self, span: Span) -> None:
        """Have a span posted soon."""
        self._waiting.append(span)
        if self._posting is None:
            self._posting = asyncio.get_running_loop().create_task(self._post(), context=Context())

    async def _post(self) -> None:
        try:
            await self._clock.sleep(POST_SECONDS)
            while self._waiting:
                spans = [list(self._waiting.popleft()) for _ in range(min(len(self._waiting), MOST_SPANS))]
                await self._client.request(f"{SUPERVISOR}.{SPANS}", {"spans": spans}, PATIENCE)
        except MeshError as error:
            log.warning("spans were not told to the host: %s", error)
        finally:
            self._posting = None


class Upstream:
    """What goes wrong in this process, told to the cell it belongs to."""

    def __init__(self, spec: AgentSpec, host: str, exchange: Responder, clock: Clock) -> None:
        self._service = spec.service
        self._host = host
        self._clock = clock
        self._client = Client(f"{spec.service}@{host}", exchange, clock)
        self._telling: set[asyncio.Task[str]] = set()
        self.stragglers = Stragglers(spec.service, spec.file.parent, clock, lambda: spec.limits.cleanup_s, self._named)

    def _named(self, text: str, operation: str | None, trace_id: str | None, context: Mapping[str, Any]) -> None:
        telling = asyncio.get_running_loop().create_task(
            self.report(text, severity="warning", operation=operation, trace_id=trace_id, context=context),
            context=Context(),
        )
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def report(
        self, error: BaseException | str, *, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Put something on the error bus and return its id, which is empty if the host did not take it."""
        return await self._tell(self.described(error, severity, operation, trace_id, context), failed=False)

    async def failed(self, error: Exception, operation: str, trace_id: str | None = None) -> str:
        """Tell of what the agent's own code raised; an `AgentExit` ends this process, as the agent wanted it."""
        if isinstance(error, AgentExit):
            leave(error)
        return await self._tell(self.described(error, "error", operation, trace_id, None), failed=True)

    def gone(self, error: Exception) -> None:
        """End this process: an agent that is gone leaves nothing to do."""
        leave(error)

    def described(
        self, error: BaseException | str, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return an error as it travels."""
        return describe(
            error, service=self._service, host=self._host, time=self._clock.time(), severity=Severity(severity),
            operation=operation, trace_id=trace_id, context=context,
        ).model_dump(mode="json")

    async def _tell(self, record: dict[str, Any], *, failed: bool) -> str:
        """Send a record up on behalf of nobody: the call that failed may have no time left."""
        log.log(logging.getLevelNamesMapping()[record["severity"].upper()], "%s", record["message"])
        telling = asyncio.get_running_loop().create_task(
            self._client.request(f"{SUPERVISOR}.{REPORT}", {"record": record, "failed": failed}, PATIENCE),
            context=Context(),
        )
        try:
            return str(await telling)
        except MeshError as error:
            log.warning("not told to the host: %s", error)
            return ""


def leave(error: BaseException) -> NoReturn:
    """End this process with the exit code its agent asked for."""
    asked = error.__cause__
    code = asked.code if isinstance(asked, SystemExit) else INTERRUPTED
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    log.error("%s; the process ends", error)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit((code or 0) & 0xFF)
