"""`mesh ask`: a question in words to the assistant, its answer, and the way it took."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import time
from typing import Any

from mesh.cli.hosts import names
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, say
from mesh.cli.spans import path_of, spans_of
from mesh.errors import InvalidResult, UsageError
from mesh.tracing import Trace

TARGET = "request_coordinator.submit_text"


def ask(scope: Scope, text: str, user: str | None, session: str | None) -> None:
    """Print the assistant's answer to `text`."""
    if not text.strip():
        raise UsageError('there is nothing to ask; write mesh ask "When is my sister\'s birthday?"')
    told = asyncio.run(_answered(scope, text, user or _login(), session or terminal()))
    if scope.json:
        document(told)
        return
    say(clean(str(told["answer"])))
    say(coloured(f"{told['intent']}, {told['engine']}, {told['elapsed_ms']:.0f} ms: {' → '.join(told['path'])}", "dim"))


async def _answered(scope: Scope, text: str, user: str, session: str) -> dict[str, Any]:
    async with connected(scope) as operator:
        trace = Trace.new(sampled=True)
        began = time.monotonic()
        reply = await operator.exchange(TARGET, {"data": text, "user_id": user, "session_id": session}, trace=trace)
        elapsed = round((time.monotonic() - began) * 1000, 1)
        answer = reply.value()
        if not isinstance(answer, dict) or "answer" not in answer:
            raise InvalidResult(f"{TARGET} on {reply.host} returned {answer!r:.60} instead of an answer")
        trace_id = trace.trace_id.hex()
        spans = await spans_of(operator, trace_id, names(operator.config, await operator.directory()))
    return {
        "answer": answer["answer"], "intent": answer.get("intent"), "engine": answer.get("engine"),
        "path": path_of(spans), "elapsed_ms": elapsed, "trace_id": trace_id,
        "session_id": answer.get("session_id", session), "user_id": user,
    }


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return f"user-{os.getuid()}"


def terminal() -> str:
    """Return the same text for every command of one terminal (without one: of one login session)."""
    session = os.getsid(0)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream.isatty():
            return f"{os.ttyname(stream.fileno()).removeprefix('/dev/').replace('/', '-')}-{session}"
    return f"session-{session}"
