"""`mesh ask`: a question in words to the assistant, its answer, and the way it took."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from typing import Any

from mesh.cli.failure import Failure
from mesh.cli.hosts import names
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, say
from mesh.cli.spans import path_in
from mesh.cli.table import folded
from mesh.errors import InvalidResult, MeshError, UsageError
from mesh.message import Reply
from mesh.tracing import Trace

TARGET = "request_coordinator.submit_text"

Outcome = dict[str, Any] | Failure


def ask(scope: Scope, text: str, user: str | None, session: str | None) -> int:
    """Print the assistant's answer to `text`, or why there is none."""
    try:
        outcome = _outcome(scope, text, user or _login(), session or terminal())
    except MeshError as error:
        outcome = Failure(error, TARGET)
    if isinstance(outcome, Failure):
        return outcome.show(scope)
    if scope.json:
        document({"ok": True, **outcome})
        return 0
    say(clean(str(outcome["answer"])))
    say(coloured(folded(f"{outcome['intent']}, {outcome['engine']}, {outcome['elapsed_ms']:.0f} ms: "
                        f"{' → '.join(outcome['path'])}", indent=4), "dim"))
    return 0


def _outcome(scope: Scope, text: str, user: str, session: str) -> Outcome:
    if not text.strip():
        raise UsageError('there is nothing to ask; write mesh ask "When is my sister\'s birthday?"')
    return asyncio.run(_answered(scope, text, user, session))


async def _answered(scope: Scope, text: str, user: str, session: str) -> Outcome:
    async with connected(scope) as operator:
        trace = Trace.new(sampled=True)
        trace_id = trace.trace_id.hex()
        arguments = {"data": text, "user_id": user, "session_id": session}
        reply, elapsed = await operator.timed(TARGET, arguments, trace=trace)
        try:
            answer = _checked(reply)
        except MeshError as error:
            return Failure(error, TARGET, reply.host or None, elapsed, trace_id)
        path = await path_in(operator, trace_id, names(operator.config, await operator.directory()))
    return {
        "answer": answer["answer"], "intent": answer.get("intent"), "engine": answer.get("engine"),
        "path": path, "elapsed_ms": elapsed, "trace_id": trace_id,
        "session_id": answer.get("session_id", session), "user_id": user,
    }


def _checked(reply: Reply) -> dict[str, Any]:
    answer = reply.value()
    if not isinstance(answer, dict) or "answer" not in answer:
        raise InvalidResult(f"{TARGET} on {reply.host} returned {answer!r:.60} instead of an answer")
    return answer


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
