"""Where a thread stands, read from its frames: which callback it is in, whose that is, and on which line.

What an agent is billed for is told by the frame of `billed` and its like, which knows who is billed, for what and since
when; reading it there costs the calls nothing. What else runs on the loop, an agent's own tasks and the mesh itself,
is told by its files.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from mesh.message import Request
from mesh.policy.measure import CallStats
from mesh.policy.resolve import SUPERVISOR
from mesh.supervisor.cell.runner import billed, poured, stepped
from mesh.supervisor.loop.hold import Place, Stand

_MESH = Path(__file__).resolve().parents[2]
_TURNS = {asyncio.BaseEventLoop._run_once.__code__, asyncio.Runner.run.__code__}  # type: ignore[attr-defined]
_HANDLE = asyncio.Handle._run.__code__
_SELECTORS = selectors.__file__
_BILLED = {billed.__code__, poured.__code__, stepped.__code__}
_NAMES = {"_bound": "__init__", "examine": "check", "finish": "teardown"}


class Tenant(NamedTuple):
    """An agent of the process: its service, its file, and the figures its steps are billed to."""

    service: str
    file: str
    stats: CallStats


class Stands:
    """Reads the frames of the loop's thread; `tenants` are the agents, `root` the folder that paths are shown from."""

    def __init__(self, watched: int, tenants: Callable[[], Iterable[Tenant]], root: Path | None = None) -> None:
        self._watched = watched
        self._tenants = tenants
        self._roots = [str(folder) + "/" for folder in (root, _MESH.parent) if folder is not None]

    def look(self) -> Stand | None:
        """Return what the loop's thread does; None while its loop waits, or does not turn at all."""
        frames = _callback(sys._current_frames().get(self._watched))
        if not frames:
            return None
        spot = (frames[0].f_code, frames[0].f_lasti, len(frames))
        for depth, frame in enumerate(frames):
            if frame.f_code in _BILLED and depth:
                told = frame.f_locals
                tenant = self._billed(told["stats"])
                if tenant is not None:
                    place = self._place(frames[:depth], tenant, operation_of(told["coroutine"]))
                    return Stand(place, step_of(told["stats"], told["started"]), moment(told["started"]), spot)
        return Stand(self._unbilled(frames), frames[-1], None, spot)

    def rival(self, thread: int, name: str) -> Place | None:
        """Return where another thread is, of the pool or the loop of an agent; `name` is the thread's."""
        service = name.removeprefix("cell-") if name.startswith("cell-") else name[len("pool-"):].rpartition("_")[0]
        tenant = next((tenant for tenant in self._tenants() if tenant.service == service), None)
        frames = list(_outwards(sys._current_frames().get(thread)))
        if tenant is None or not frames:
            return None
        if not any(frame.f_code.co_filename.startswith(_folder(tenant)) for frame in frames):  # it is done by now
            return Place(service, None, name, self._shown(tenant.file), 1)
        return self._place(frames, tenant, None)

    def of_step(self, stats: CallStats, coroutine: Any) -> Place | None:
        """Return where a billed callback begins, None for one of no agent of this process."""
        tenant = self._billed(stats)
        if tenant is None:
            return None
        code = coroutine.ag_code if inspect.isasyncgen(coroutine) else coroutine.cr_code
        return Place(tenant.service, operation_of(coroutine), code.co_name, self._shown(code.co_filename),
                     code.co_firstlineno)

    def _billed(self, stats: CallStats) -> Tenant | None:
        return next((tenant for tenant in self._tenants() if tenant.stats is stats), None)

    def _place(self, frames: list[FrameType], tenant: Tenant, operation: str | None) -> Place:
        """Return the innermost line of the agent's own files, or where the callback begins if none of them is there."""
        folder = _folder(tenant)
        own = next((frame for frame in frames if frame.f_code.co_filename.startswith(folder)), frames[-1])
        return self._line(frames, own, tenant.service, operation)

    def _unbilled(self, frames: list[FrameType]) -> Place:
        """Return the innermost line of an agent's file, else of the mesh's own, else where the callback begins."""
        whose = {tenant.file: tenant.service for tenant in self._tenants()}
        for frame in frames:
            service = whose.get(frame.f_code.co_filename)
            if service is not None:
                return self._line(frames, frame, service, None)
        began = frames[-2] if frames[-1].f_code is _HANDLE and len(frames) > 1 else frames[-1]
        own = next((frame for frame in frames if frame.f_code.co_filename.startswith(f"{_MESH}/")), began)
        return self._line(frames, own, SUPERVISOR, _target(frames))

    def _line(self, frames: list[FrameType], at: FrameType, service: str, operation: str | None) -> Place:
        inside = None if frames[0] is at else f"{frames[0].f_globals.get('__name__', '?')}.{frames[0].f_code.co_name}"
        return Place(service, operation, at.f_code.co_name, self._shown(at.f_code.co_filename), at.f_lineno, inside)

    def _shown(self, file: str) -> str:
        return next((file[len(root):] for root in self._roots if file.startswith(root)), file)


def _folder(tenant: Tenant) -> str:
    return tenant.file.rpartition("/")[0] + "/"


def step_of(stats: CallStats, started: float) -> object:
    """Return what tells one billed step from all others."""
    return id(stats), started


def moment(counted: float) -> float:
    """Return a moment of `perf_counter` on the monotonic clock; on Linux they are the same."""
    return time.monotonic() - (time.perf_counter() - counted)


def operation_of(coroutine: Any) -> str:
    """Return the name of the operation, or of the part of an agent's life, that a coroutine is."""
    name: str = coroutine.__name__
    return _NAMES.get(name, name)


def _callback(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the callback that a loop runs, the innermost first; none while it waits or stands still."""
    frames: list[FrameType] = []
    for each in _outwards(frame):
        if each.f_code in _TURNS:
            return [] if frames and frames[-1].f_code.co_filename == _SELECTORS else frames
        frames.append(each)
    return []


def _outwards(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _target(frames: list[FrameType]) -> str | None:
    """Return the request that the mesh itself works on, if it can be told."""
    for frame in frames:
        request = frame.f_locals.get("request")
        if isinstance(request, Request):
            return request.target
    return None
