"""`mesh up --detach`: the launcher in the background, in a session of its own; waits until it is ready or failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mesh.cli.progress import nothing_started, show_ready
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, note
from mesh.config import MeshConfig
from mesh.errors import StartError


def start_detached(config: MeshConfig, host: str | None, watch: bool, scope: Scope) -> int:
    """Start `mesh up` in the background and wait for its ready line; returns 0, or the exit code of a failed start."""
    log = config.home / "run" / ("launcher.out" if host is None else f"{host}.out")
    end = "mesh down" if host is None else f"mesh down --host {host}"
    reading, writing = os.pipe()
    try:
        process = _launched(config, host, watch, writing, log)
    finally:
        os.close(writing)
    try:
        return _waited(process, reading, log, end, scope)
    except KeyboardInterrupt:
        note(f"it goes on starting in the background as pid {process.pid}; `{end}` stops it")
        raise


def _waited(process: subprocess.Popen[bytes], reading: int, log: Path, end: str, scope: Scope) -> int:
    """Read what the launcher tells until it is ready or has ended."""
    troubles: list[str] = []
    with os.fdopen(reading, "rb") as pipe:
        for raw in pipe:
            told: dict[str, Any] = json.loads(raw)
            if told["kind"] == "ready":
                show_ready(told["text"], told["data"], scope.json)
                if not scope.json:
                    note(f"runs in the background as pid {process.pid}; `{end}` drains and stops it")
                process.returncode = 0  # it is nobody's child from now on, and Popen need not complain of that
                return 0
            if told["kind"] in ("refused", "quarantined"):
                troubles.append(told["text"])
            elif told["kind"] == "status":
                note(clean(str(told["data"].get("message", ""))))
    code = process.wait()
    note(f"mesh: {nothing_started(troubles or [_last_words(log) or f'it ended with code {code}'])}")
    return code or 1


def _launched(config: MeshConfig, host: str | None, watch: bool, writing: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mesh.cli", "up", "--config", str(config.root),
               "--environment", config.environment, "--status-fd", str(writing), *(["--watch"] if watch else [])]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            return subprocess.Popen(
                [*command, *(() if host is None else ("--host", host))], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, pass_fds=(writing,), start_new_session=True,
            )
    except OSError as error:
        raise StartError(f"{log} cannot be written: {error}; make its folder writable, "
                         "or set MESH_HOME to one that is") from None


def _last_words(log: Path) -> str:
    try:
        return log.read_text(errors="replace").strip()[-2000:].removeprefix("mesh: ")
    except OSError:
        return ""
