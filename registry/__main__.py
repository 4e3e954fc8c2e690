"""`python -m registry`: the registry daemon in the foreground, without a launcher."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from mesh.config import MeshConfig, find_root, load
from mesh.errors import MeshError
from mesh.logs import open_log
from mesh.parent import StatusPipe, tie_to_parent
from mesh.transport.loop import fastest_loop
from registry.daemon import Daemon


def main() -> int:
    """Run the registry until it is told to stop; returns the exit code."""
    tie_to_parent()
    arguments = _arguments()
    pipe = StatusPipe(arguments.status_fd)
    try:
        config = load(find_root(arguments.config or Path.cwd()), environment=arguments.environment)
        host = config.registry.host
        open_log("registry", config.home / host / "logs", host=host, service="registry",
                 level=config.logs.level.upper(), folder_bytes=config.logs.megabytes * 1_000_000)
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            runner.run(_serve(config, pipe, by_hand=arguments.status_fd is None))
    except MeshError as error:
        pipe.send("failed", message=error.message, code=error.exit_code)
        print(f"registry: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(config: MeshConfig, pipe: StatusPipe, *, by_hand: bool) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    daemon = Daemon(config)

    def ready() -> None:
        pipe.send("ready", endpoint=daemon.endpoint)
        if by_hand:
            print(f"the registry of mesh {config.mesh} listens at {daemon.endpoint}", flush=True)

    await daemon.run(ready, stopping.wait)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m registry", description=__doc__)
    parser.add_argument("--config", type=Path, help="the project folder; default: found upwards from here")
    parser.add_argument("--environment", help="the environment section to use")
    parser.add_argument("--status-fd", type=int, help="descriptor for events as JSON lines (the launcher gives it)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
