"""What `mesh up` shows of its launcher: who starts, the ready line, who is not ready and why, what happens later."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.cli.screen import clean, coloured, line, note, say
from mesh.launcher.kept import REGISTRY, LauncherEvent
from mesh.launcher.outline import Outline

READY = ("event", "ready", "total", "seconds", "degraded", "failed", "missing", "alone", "hosts")
_COLOURS = {"refused": "red", "quarantined": "red", "restarting": "yellow", "killing": "yellow",
            "not_reloaded": "red"}
_SILENT = frozenset({"ended"})
_TOLD_STATUS = frozenset({"waiting", "reloaded", "not_reloaded"})


class Progress:
    """Takes the launcher's events. With `status_fd` they go there as JSON lines and nothing is printed; with `json`
    the ready line and what comes after it are JSON on standard output."""

    def __init__(self, outline: Outline, hosts: Sequence[str], *, json: bool, status_fd: int | None) -> None:
        self._json = json
        self._status_fd = status_fd
        self._ready = False
        self._refusals: dict[str, str] = {}
        self._given_up = False
        if status_fd is None and not json:
            say(f"starting mesh {outline.mesh} ({outline.environment}): {', '.join(hosts)}")

    def __call__(self, event: LauncherEvent) -> None:
        self._given_up = self._given_up or event.kind == "quarantined"
        if self._status_fd is not None:
            self._pass_on(event)
        elif event.kind == "ready":
            self._show_ready(event)
        elif event.kind == "refused" and not self._ready:
            # ends the start, and is the last thing said of it: once, although others may say the same
            self._refusals.setdefault(str(event.data.get("message")), event.text)
        elif self._json and self._ready:
            line({"event": event.kind, "child": event.child, "text": event.text, **event.data})
        else:
            self._show(event)

    def end(self, code: int) -> None:
        """Say how it ended; a start that failed says why as the last thing."""
        if self._status_fd is not None:
            os.close(self._status_fd) if not self._ready else None
        elif code and not self._ready:
            why = list(self._refusals.values()) or ([] if self._given_up else ["it was ended before it was ready"])
            note(coloured(clean(nothing_started(why)), "red", sys.stderr))
        elif not self._json:
            say("stopped")

    def _pass_on(self, event: LauncherEvent) -> None:
        """Tell the process that waits for the ready line, and close the pipe when it has it."""
        assert self._status_fd is not None
        if self._ready or (event.kind == "status" and event.data.get("event") not in _TOLD_STATUS):
            return
        told = {"kind": event.kind, "child": event.child, "text": event.text, "data": dict(event.data)}
        os.write(self._status_fd, json.dumps(told, default=str).encode() + b"\n")
        if event.kind == "ready":
            self._ready = True
            os.close(self._status_fd)

    def _show_ready(self, event: LauncherEvent) -> None:
        self._ready = True
        show_ready(event.text, event.data, self._json)
        if not self._json:
            say(coloured("another terminal: mesh ask \"...\", mesh status, mesh errors tail; Ctrl-C drains and stops",
                         "dim"))

    def _show(self, event: LauncherEvent) -> None:
        if event.kind in _SILENT or (event.kind == "status" and event.data.get("event") not in _TOLD_STATUS):
            return
        text = event.text if event.kind != "status" else str(event.data.get("message", ""))
        if self._json:
            note(clean(text))
        else:
            say(coloured(clean(text), _COLOURS.get(str(event.data.get("event", event.kind)))))


def nothing_started(why: Sequence[str]) -> str:
    """Return the last line of a start that failed; several reasons stand below it."""
    return "nothing was started" + (f": {why[0]}" if len(why) == 1 else "".join(f"\n    {text}" for text in why))


def show_ready(text: str, data: Mapping[str, Any], as_json: bool) -> None:
    """Print the ready line, and below it who is not ready and why."""
    if as_json:
        line({key: data[key] for key in READY if key in data})
        return
    whole = data["ready"] == data["total"] and not data["missing"] and not data["alone"]
    say(coloured(text, "green" if whole else "yellow"))
    for row in data["degraded"]:
        say(clean(f"    {row['service']}@{row['host']} is degraded: {row['reason']}"))
    for row in data["failed"]:
        say(clean(f"    {row['service']}@{row['host']} is {row['state']}: {row['reason']}"))
    for row in data["missing"]:
        name = "the registry" if row["host"] == REGISTRY else row["host"]
        say(clean(f"    {name} is not there: {row['reason']}"))
    for row in data["alone"]:
        say(clean(f"    {row['host']} is not in the mesh: the registry at {row['endpoint']} does not answer it "
                  f"({row['reason']})"))
