"""`mesh up`: start one host or all of them, in the foreground, in the background, or without a launcher."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from mesh.address import is_loopback, is_own
from mesh.cli.detach import start_detached
from mesh.cli.hosts import checked
from mesh.cli.launch import Launch, become
from mesh.cli.scope import Scope
from mesh.cli.screen import coloured, note
from mesh.config import MeshConfig
from mesh.config.model import DEFAULT_ENVIRONMENT
from mesh.errors import UsageError
from mesh.launcher.claim import ensure_unclaimed
from mesh.launcher.outline import Outline

LOOPBACK = "127.0.0.1"


def up(scope: Scope, host: str | None, detach: bool, watch: bool, launcher: bool, status_fd: int | None) -> int:
    """Become the launcher of `host`, or of all hosts on this machine, which keeps them alive until Ctrl-C.

    Several of these may run for one project, each with hosts of its own; a host that another one keeps is refused.
    `status_fd` is where `--detach` reads from: what would be shown goes there as JSON lines.
    """
    began = time.monotonic()
    if not launcher and (host is None or detach or scope.json):
        raise UsageError("--no-launcher runs one host in this process: write mesh up --host NAME --no-launcher")
    if host is None:
        _use_loopback(scope.config())
    config = scope.config()
    if watch and config.environment != DEFAULT_ENVIRONMENT:
        raise UsageError(f"--watch restarts agents whenever a file is saved, which is for {DEFAULT_ENVIRONMENT} only; "
                         f"the environment is {config.environment}: leave --watch out")
    hosts = list(config.hosts) if host is None else [checked(host, list(config.hosts))]
    ensure_unclaimed(config.home, hosts)
    if config.security == "none":
        note(coloured("security is none: nothing is encrypted and anybody may join; only for measuring", "red",
                      sys.stderr))
    if host is not None:
        _tell_unknown_keys(config, hosts)
    if not launcher:
        _become_supervisor(config, hosts[0], watch)
    if detach:
        return start_detached(config, host, watch, scope)
    become(Launch(Outline.of(config), tuple(hosts), watch, scope.json, scope.debug, status_fd, began))


def _tell_unknown_keys(config: MeshConfig, own: Sequence[str]) -> None:
    """Say which machines will be refused until their keys are written down here."""
    for host in config.hosts.values():
        if config.security == "curve" and host.key is None and host.name not in own and not is_own(host.address):
            note(coloured(f"{host.name} will be refused until its key is known here: run `mesh keys show` on "
                          f"{host.name} and paste the line under hosts: {host.name}: in config/hosts.yaml", "yellow",
                          sys.stderr))


def _use_loopback(config: MeshConfig) -> None:
    """Have this process and its children put every host on loopback: all of them share this machine."""
    for host in config.hosts.values():
        if not is_loopback(host.address):
            os.environ[f"MESH_HOSTS__{host.name.upper()}__ADDRESS"] = LOOPBACK


def _become_supervisor(config: MeshConfig, host: str, watch: bool) -> None:
    """Replace this process by the host's supervisor; returns only in tests that replace `os.execv`."""
    command = [*supervisor_command(config, host), *(["--watch"] if watch else [])]
    sys.stdout.flush()
    os.execv(command[0], command)


def supervisor_command(config: MeshConfig, host: str) -> list[str]:
    """Return the command line of one host's supervisor."""
    return [sys.executable, "-m", "mesh.supervisor", "--host", host, "--config", str(config.root),
            "--environment", config.environment]


