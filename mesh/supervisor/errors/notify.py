"""Tells somebody outside: runs a command, or posts to a webhook, off the path and within a time limit.

Each way has a thread of its own, so that a command that hangs holds up neither the host nor the webhook. What cannot be
told is kept and tried again, together with what came since; that it failed is said once until it works.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from mesh import __version__
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.errorbus import ErrorDetail
from mesh.errors import MeshError
from mesh.metrics import Sample, counter
from mesh.supervisor.errors.notice import Batch, Gathering, Notice, Occasion, is_news

LIMIT_S = 10.0
CLOSING_S = 3.0
WORDS = 300
KINDS = ("command", "webhook")

TOLD = counter("mesh_notifications_total", "Notifications that reached whom they were for.", "way")
REFUSED = counter("mesh_notifications_refused_total", "Notifications that did not, each try counted.", "way")

Trouble = Callable[[str], None]


class Sender(Protocol):
    """Something that takes what is to be told."""

    def send(self, body: bytes, limit: float) -> None:
        """Give a document away within `limit` seconds; raises `NotTold`."""

    def abort(self) -> None:
        """Let what is being sent fail, from another thread."""


class NotTold(MeshError):
    """A command failed, or a webhook did not take what was posted."""


class Notifier:
    """What one host tells by `notify` of `config/hosts.yaml`; `trouble` hears, from other threads, what fails."""

    def __init__(self, config: MeshConfig, host: str, trouble: Trouble, *, clock: Clock | None = None,
                 gathering: Callable[[], Gathering] = Gathering) -> None:
        wanted, clock = config.notify, clock or Clock()
        self._wanted = wanted.about
        ways: list[tuple[str, str, Sender]] = []
        if wanted.command:
            ways.append(("command", f"the command {wanted.command[0]}", Command(wanted.command, config.root)))
        if wanted.webhook is not None:
            ways.append(("webhook", f"the webhook at {urlsplit(wanted.webhook).netloc}", Webhook(wanted.webhook)))
        self._ways = {
            kind: Way(name, sender, gathering(), clock, trouble,
                      lambda batch: batch.document(config.mesh, host, config.environment, clock.time()))
            for kind, name, sender in ways
        }

    def samples(self) -> Iterator[Sample]:
        """Yield how often somebody was told."""
        for kind in KINDS:
            way = self._ways.get(kind)
            yield TOLD.sample(0 if way is None else way.told, kind)
            yield REFUSED.sample(0 if way is None else way.refused, kind)

    def start(self) -> None:
        """Begin to tell."""
        for way in self._ways.values():
            way.start()

    def close(self) -> None:
        """Tell what waits, for at most 3 s, then break off what is being told."""
        for way in self._ways.values():
            way.stop()
        for way in self._ways.values():
            way.end(CLOSING_S)

    def __call__(self, record: ErrorDetail, occasion: Occasion | None) -> None:
        """Take a record; whoever is to know of it is told soon."""
        if self._ways and occasion is not None and is_news(occasion, record, self._wanted):
            for way in self._ways.values():
                way.put(Notice(occasion, record, record.decision))


class Way(threading.Thread):
    """One way to tell, with what waits for it; the moments are monotonic seconds."""

    def __init__(self, name: str, sender: Sender, gathering: Gathering, clock: Clock, trouble: Trouble,
                 document: Callable[[Batch], dict[str, Any]]) -> None:
        super().__init__(name=f"notify-{name}", daemon=True)
        self.told = self.refused = 0
        self._way = name
        self._sender = sender
        self._gathering = gathering
        self._clock = clock
        self._trouble = trouble
        self._document = document
        self._changed = threading.Condition()
        self._stopping = self._failing = False

    def put(self, notice: Notice) -> None:
        """Take a notice."""
        with self._changed:
            self._gathering.add(notice, self._clock.monotonic())
            self._changed.notify()

    def stop(self) -> None:
        """End once what waits was told, or could not be."""
        with self._changed:
            self._stopping = True
            self._gathering.hurry()
            self._changed.notify()

    def end(self, limit: float) -> None:
        """Wait for the end, and break off what takes longer."""
        self.join(limit)
        if self.is_alive():
            self._sender.abort()
            self.join(1.0)

    def run(self) -> None:
        """Tell what is due until stopped."""
        while (batch := self._next()) is not None:
            now = self._clock.monotonic
            try:
                body = json.dumps(self._document(batch), ensure_ascii=False).encode()
                self._sender.send(body, CLOSING_S if self._stopping else LIMIT_S)
            except NotTold as error:
                self.refused += 1
                with self._changed:
                    self._gathering.refused(batch, now())
                    stopping = self._stopping
                self._tell_failure(error)
                if stopping:
                    return
            else:
                self._failing = False
                self.told += 1
                with self._changed:
                    self._gathering.told(now())
                    if self._stopping:
                        self._gathering.hurry()

    def _next(self) -> Batch | None:
        """Wait for what is due; None when it is time to end."""
        with self._changed:
            while True:
                batch = self._gathering.take(self._clock.monotonic())
                if batch is not None or self._stopping:
                    return batch
                self._changed.wait(self._gathering.wait(self._clock.monotonic()))

    def _tell_failure(self, error: NotTold) -> None:
        if not self._failing:
            self._failing = True
            self._trouble(f"{self._way} of `notify` in config/hosts.yaml cannot be told: {error}; it is tried again "
                          "until it works")


class Command:
    """Runs a command in `folder`, without a shell, with the document on its standard input."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self._arguments = tuple(arguments)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def send(self, body: bytes, limit: float) -> None:
        """Run it; raises `NotTold` if it fails or takes too long."""
        with tempfile.TemporaryFile() as said:
            process = self._process = self._started(said)
            try:
                process.communicate(body, limit)
            except subprocess.TimeoutExpired:
                raise NotTold(f"it did not end within {limit:g} s and was killed") from None
            finally:
                _kill_group(process)
                process.wait()
            if process.returncode:
                raise NotTold(f"it ended with code {process.returncode}{_last_words(said)}")

    def abort(self) -> None:
        """Kill it and whatever it started."""
        if self._process is not None and self._process.poll() is None:
            _kill_group(self._process)

    def _started(self, said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(self._arguments, cwd=self._folder, stdin=subprocess.PIPE, stdout=said, stderr=said,
                                    start_new_session=True)
        except OSError as error:
            raise NotTold(f"it cannot be started: {error}") from None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - WORDS))
    text = " ".join(said.read().decode(errors="replace").split())
    return f": {text}" if text else ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse it."""


class Webhook:
    """Posts the document to `url` as JSON; any answer below 300 is a good one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, body: bytes, limit: float) -> None:
        """Post it; raises `NotTold` for another answer or none."""
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json",
                                                           "User-Agent": f"mesh/{__version__}"})
        try:
            with self._opener.open(request, timeout=limit) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            raise NotTold(f"it answered {error.code} {error.reason}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotTold(f"{getattr(error, 'reason', None) or error}") from None

    def abort(self) -> None:
        """Leave it to its limit: it holds nothing but a thread that ends with the process."""
