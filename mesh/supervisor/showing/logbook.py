"""The logs of one host as they lie on disk, read as one: the latest lines, or what came after a cursor.

A log is a file and the full ones before it (`supervisor.log`, `.1`, `.2`), told apart by their first line, which stays
what it is when a file is renamed; so a cursor survives rotation, and a restart of whoever reads. Only whole lines are
read. What was rotated away before it was read is told as lost, never left out in silence.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

LEVELS = ("debug", "info", "warning", "error", "critical")
FIRST = 4096
MOST_FILES = 10
BLOCK = 65_536
MOST_LINES = 5_000
MOST_BYTES = 2_000_000
MOST_READ = 200_000
LONGEST = 1_000_000
LAST = "9999"
START = b'{"time": "'
END = len(START) + len("2026-01-01T00:00:00.000000+00:00")

Cursor = Mapping[str, Sequence[Any]]
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines to read: of a service, of a trace (or its first digits), of at least a level, not before `since`.

    `since` is wall-clock seconds; None is all.
    """

    service: str | None = None
    trace: str | None = None
    level: str | None = None
    since: float | None = None

    def __call__(self, raw: bytes, time: str) -> Line | None:
        """Return the line if it is wanted; `time` is that of a neighbour if it has none."""
        if self.trace is not None and self.trace.encode() not in raw:
            return None
        line = _parsed(raw, time)
        if self.since is not None and line["time"] < moment_of(self.since):
            return None
        if self.service is not None and line.get("service") != self.service:
            return None
        if self.trace is not None and not str(line.get("trace_id") or "").startswith(self.trace):
            return None
        return line if self.level is None or _rank(line.get("level")) >= _rank(self.level) else None


@dataclass(slots=True)
class Page:
    """Lines in order of time; `cursor` is where to go on, `more` that there is more already, `lost` logs with a gap."""

    lines: list[Line] = field(default_factory=list)
    cursor: dict[str, list[Any]] = field(default_factory=dict)
    more: bool = False
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _File:
    """One open file of a log: what its first line makes of it, how much was there when it was looked at."""

    mark: str
    opened: IO[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class _Found:
    """A line and where the next one begins."""

    log: str
    mark: str
    end: int
    raw: bytes
    time: str


def _time(found: _Found) -> str:
    return found.time


class LogBook:
    """The `*.log` files in `folder`; safe to use from any thread, each reading stands for itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def latest(self, wanted: Wanted, limit: int) -> Page:
        """Return the last `limit` lines that are wanted, with a cursor to go on from."""
        page = Page()
        with ExitStack() as stack:
            logs = {name: self._files(name, stack) for name in self._names()}
            page.cursor = {name: [files[-1].mark, files[-1].size] for name, files in logs.items() if files}
            found_lines = heapq.merge(*map(_backwards, logs, logs.values()), key=_time, reverse=True)
            for read, found in enumerate(found_lines):
                line = wanted(found.raw, found.time)
                if line is not None:
                    page.lines.append(line)
                if len(page.lines) >= min(limit, MOST_LINES) or read > MOST_READ or _is_before(found, wanted):
                    break
        page.lines.reverse()
        return page

    def after(self, cursor: Cursor, wanted: Wanted, limit: int = MOST_LINES) -> Page:
        """Return up to `limit` wanted lines that came after `cursor`; of a log not in it, all there are."""
        page = Page(cursor={name: list(place) for name, place in cursor.items()})
        with ExitStack() as stack:
            logs: dict[str, tuple[list[_File], int]] = {}
            for name in self._names():
                files, start, lost = _from(self._files(name, stack), cursor.get(name))
                logs[name] = files, start
                page.lost += [name] if lost else []
            size = 0
            found_lines = heapq.merge(*(_forwards(name, *place) for name, place in logs.items()), key=_time)
            for read, found in enumerate(found_lines):
                if len(page.lines) >= min(limit, MOST_LINES) or size > MOST_BYTES or read > MOST_READ:
                    page.more = True
                    break
                page.cursor[found.log] = [found.mark, found.end]
                line = wanted(found.raw, found.time)
                if line is not None:
                    page.lines.append(line)
                    size += len(found.raw)
        return page

    def _names(self) -> list[str]:
        with suppress(OSError):
            return sorted(path.stem for path in self._folder.iterdir() if path.suffix == ".log")
        return []

    def _files(self, name: str, stack: ExitStack) -> list[_File]:
        """Return the open files of a log, the oldest first.

        They are looked at from the newest to the oldest: one that is renamed meanwhile is met twice, never missed.
        """
        found: dict[str, _File] = {}
        for number in range(MOST_FILES):
            path = self._folder / (f"{name}.log" + (f".{number}" if number else ""))
            try:
                opened = stack.enter_context(path.open("rb"))
                first = opened.readline(FIRST)
                size = opened.seek(0, 2)
            except OSError:  # there is none, or it is being renamed just now
                continue
            if first.endswith(b"\n") or len(first) == FIRST:
                mark = hashlib.sha256(first).hexdigest()[:16]
                found.setdefault(mark, _File(mark, opened, _whole(opened, size)))
        return list(reversed(found.values()))


def moment_of(seconds: float) -> str:
    """Return wall-clock seconds as a line's `time`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _rank(level: object) -> int:
    return LEVELS.index(level) if isinstance(level, str) and level in LEVELS else LEVELS.index("warning")


def _is_before(found: _Found, wanted: Wanted) -> bool:
    return wanted.since is not None and bool(found.time) and found.time < moment_of(wanted.since)


def _parsed(raw: bytes, time: str) -> Line:
    """Return a line; what is none, since its process was killed while it wrote, is shown as it is."""
    try:
        line = json.loads(raw)
        if isinstance(line, dict) and isinstance(line.get("time"), str):
            return line
    except ValueError:
        pass
    text = raw.decode(errors="replace").strip()
    return {"time": time, "level": "warning", "host": None, "service": None, "operation": None,
            "trace_id": None, "logger": None, "message": text}


def _time_of(raw: bytes) -> str:
    """Return the time a line begins with, without reading the rest of it; empty for what is no line."""
    told = raw.startswith(START) and raw[END : END + 1] == b'"' and raw[:END].isascii()
    return raw[len(START) : END].decode() if told else ""


def _whole(opened: IO[bytes], size: int) -> int:
    """Return where the last whole line of a file ends, reading back from its end."""
    end = size
    while end > 0:
        start = max(0, end - BLOCK)
        opened.seek(start)
        at = opened.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _from(files: list[_File], place: Sequence[Any] | None) -> tuple[list[_File], int, bool]:
    """Return the files from a cursor's on, where to begin in the first, and whether something before is gone."""
    if place is None:
        return files, 0, False
    mark, offset = str(place[0]), int(place[1])
    for index, file in enumerate(files):
        if file.mark == mark:
            return files[index:], min(offset, file.size), False
    return files, 0, True


def _forwards(log: str, files: list[_File], start: int) -> Iterator[_Found]:
    time = ""
    for index, file in enumerate(files):
        at = start if index == 0 else 0
        file.opened.seek(at)
        while at < file.size:
            raw = file.opened.readline(LONGEST)
            at += len(raw)
            time = _time_of(raw) or time  # what is no line goes where the one before it is
            yield _Found(log, file.mark, at, raw, time)


def _backwards(log: str, files: list[_File]) -> Iterator[_Found]:
    time = LAST
    for file in reversed(files):
        for raw in _lines_from_end(file):
            time = _time_of(raw) or time
            yield _Found(log, file.mark, 0, raw, time)


def _lines_from_end(file: _File) -> Iterator[bytes]:
    rest, end = b"", file.size
    while end > 0:
        start = max(0, end - BLOCK)
        file.opened.seek(start)
        rest, *lines = (file.opened.read(end - start) + rest).split(b"\n")
        yield from filter(None, reversed(lines))
        end = start
    if rest:
        yield rest
