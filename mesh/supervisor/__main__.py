"""`python -m mesh.supervisor --host NAME`: one host in the foreground, without a launcher."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mesh.address import nearest
from mesh.client import running
from mesh.clock import Clock
from mesh.config import MeshConfig, find_root, load
from mesh.errors import MeshError, UsageError
from mesh.logs import open_log
from mesh.parent import StatusPipe, tie_to_parent
from mesh.supervisor.leftover import end_tasks, end_threads, leave
from mesh.supervisor.prints import Overflow, log_prints
from mesh.supervisor.supervisor import Supervisor, Tell
from mesh.transport.loop import fastest_loop

ATTEND_SECONDS = 5.0


def main() -> int:
    """Run one host until it is told to stop; returns the exit code."""
    tie_to_parent()
    arguments = _arguments()
    pipe = StatusPipe(arguments.status_fd)
    tell = _show if arguments.status_fd is None else lambda event: pipe.send(**event)
    try:
        config = load(find_root(arguments.config or Path.cwd()), environment=arguments.environment)
        if arguments.host not in config.hosts:
            like = nearest(arguments.host, config.hosts)
            raise UsageError(f"config/hosts.yaml has no host {arguments.host!r}"
                             + (f"; did you mean {like}?" if like else f"; it has {', '.join(config.hosts)}"))
        logs = config.home / arguments.host / "logs"
        open_log("supervisor", logs, host=arguments.host, service="supervisor", context=running,
                 level=config.logs.level.upper(), folder_bytes=config.logs.megabytes * 1_000_000)
        log_prints(running, Clock(), echo=arguments.status_fd is None)
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            runner.run(_serve(config, arguments.host, tell, Overflow(logs / "supervisor.out"), arguments.watch))
    except MeshError as error:
        tell({"event": "failed", "host": arguments.host, "message": error.message, "code": error.exit_code})
        print(f"mesh: {error.message}", file=sys.__stderr__)
        return error.exit_code
    return 0


async def _serve(config: MeshConfig, host: str, tell: Tell, output: Overflow, watch: bool) -> None:
    supervisor = Supervisor(config, host, tell=tell, watch=watch)
    attending = asyncio.create_task(_attend(output))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_end, supervisor)
    try:
        await supervisor.run()
    finally:
        attending.cancel()
    leave(0, await end_tasks() + end_threads())


async def _attend(output: Overflow) -> None:
    """Keep the file of what is printed past Python small."""
    while True:
        await asyncio.sleep(ATTEND_SECONDS)
        output.attend()


def _stop_or_end(supervisor: Supervisor) -> None:
    """Drain at the first signal, end at once at the second."""
    if supervisor.stopping.is_set():
        logging.getLogger("mesh.supervisor").warning("second signal: ending at once")
        os._exit(130)
    supervisor.shut_down()


def _show(event: dict[str, Any]) -> None:
    """Tell a person at the terminal what the launcher would show."""
    if event["event"] == "ready":
        print(f"{event['ready']}/{event['total']} agents ready in {event['seconds']:.1f} s on {event['host']}",
              file=sys.__stdout__, flush=True)
        alone = event["alone"]
        if alone:
            print(f"the registry at {alone['endpoint']} does not answer ({alone['reason']})", file=sys.__stdout__,
                  flush=True)
    elif event["event"] in ("blocked", "waiting", "reloaded", "not_reloaded"):
        print(event["message"], file=sys.__stderr__, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mesh.supervisor", description=__doc__)
    parser.add_argument("--host", required=True, help="the host's name in config/hosts.yaml")
    parser.add_argument("--config", type=Path, help="the project folder; default: found upwards from here")
    parser.add_argument("--environment", help="the environment section to use")
    parser.add_argument("--watch", action="store_true", help="follow the agents' files; for development")
    parser.add_argument("--status-fd", type=int, help="descriptor for events as JSON lines (the launcher gives it)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
