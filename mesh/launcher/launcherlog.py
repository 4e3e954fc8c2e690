"""What the launcher does, written into the log of the host it does it to: who it starts, what died and how."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mesh.errors import StartError
from mesh.launcher.kept import LauncherEvent
from mesh.logs import FOLDER_BYTES, log_file

MAX_BYTES = 1_000_000

_LEVELS: Mapping[str, int] = {"refused": logging.CRITICAL, "quarantined": logging.CRITICAL,
                              "restarting": logging.ERROR, "killing": logging.WARNING, "waiting": logging.WARNING}


class LauncherLog:
    """One `launcher.log` per host, in `home/<host>/logs`; `hosts` maps each child to the host it belongs to.

    What concerns no child is written for every host. A folder that cannot be written costs nothing but its log.
    """

    def __init__(self, home: Path, hosts: Mapping[str, str], *, folder_bytes: int = FOLDER_BYTES) -> None:
        self._home = home
        self._hosts = hosts
        self._folder_bytes = folder_bytes
        self._handlers: dict[str, logging.Handler] = {}

    def tell(self, event: LauncherEvent) -> None:
        """Write an event down."""
        text = event.text
        if event.kind == "status":
            text = f"{text}: {event.data['message']}" if event.data.get("message") else text
        last = str(event.data.get("last_words") or "")
        record = logging.LogRecord("mesh.launcher", _LEVELS.get(event.kind, logging.INFO), "", 0, "%s",
                                   (f"{text}\n{last}" if last else text,), None)
        hosts = self._hosts.values() if event.child is None else [self._hosts[event.child]]
        for host in dict.fromkeys(hosts):
            with suppress(StartError):
                self._of(host).handle(record)

    def close(self) -> None:
        """Close the files."""
        for handler in self._handlers.values():
            handler.close()
        self._handlers.clear()

    def _of(self, host: str) -> logging.Handler:
        if host not in self._handlers:
            self._handlers[host] = log_file("launcher", self._home / host / "logs", host=host, service="launcher",
                                            folder_bytes=self._folder_bytes, max_bytes=MAX_BYTES)
        return self._handlers[host]
