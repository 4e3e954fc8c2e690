"""`python -m mesh.supervisor.process`: the process of one cell, started by its host and by nobody else."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import logging
import os
import resource
import signal
import sys

from mesh.address import instance_name
from mesh.client import running
from mesh.clock import Clock
from mesh.config import AgentSpec, MeshConfig
from mesh.logs import Context, open_log
from mesh.parent import ORPHANED
from mesh.supervisor.prints import log_prints
from mesh.supervisor.process.papers import Papers, read_papers
from mesh.supervisor.process.process import DUMP_STACKS
from mesh.supervisor.process.tenant import Tenant
from mesh.transport.loop import fastest_loop

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run one agent until its host has enough of it; returns the exit code."""
    _tie()
    papers = read_papers(sys.stdin.buffer)
    if os.getppid() != papers.parent:  # it died before the line above
        os._exit(ORPHANED)
    config = papers.mesh()
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the host, which then ends this process
    faulthandler.enable(sys.__stderr__ or 2)
    faulthandler.register(DUMP_STACKS, file=papers.stacks, all_threads=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {DUMP_STACKS})
    _limit(config.agents[papers.service])
    open_log(f"agent-{instance_name(papers.service, papers.number)}", config.home / papers.host / "logs",
             host=papers.host, service=papers.service, context=_context(papers.service),
             level=config.logs.level.upper(), folder_bytes=config.logs.megabytes * 1_000_000)
    log_prints(_context(papers.service), Clock(), echo=False)
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        code = runner.run(_serve(papers, config))
        if code:  # there is no host left that would end what does not end by itself
            logging.shutdown()
            os._exit(code)
    return 0


async def _serve(papers: Papers, config: MeshConfig) -> int:
    """Run the agent until the pipe of the papers ends or the connection is lost."""
    loop = asyncio.get_running_loop()
    enough: asyncio.Future[int] = loop.create_future()
    tenant = Tenant(papers, config, lambda code: _settle(enough, code))
    loop.add_reader(sys.stdin.fileno(), _settle, enough, 0)
    tenant.start()
    code = await enough
    loop.remove_reader(sys.stdin.fileno())
    await tenant.close()
    return code


def _settle(future: asyncio.Future[int], code: int) -> None:
    if not future.done():
        future.set_result(code)


def _context(service: str) -> Context:
    """Return what says for each line of the log whose it is: all that runs here is the agent's."""
    return lambda: {"service": service, **running()}


def _tie() -> None:
    """Have the kernel end this process with the thread that started it, whoever holds the interpreter then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(spec: AgentSpec) -> None:
    """Bound what this process may use, as its config says; the soft limits, so that the signal comes first."""
    for kind, most in ((resource.RLIMIT_CPU, spec.limits.cpu_s), (resource.RLIMIT_NOFILE, spec.limits.open_files)):
        if most is not None:
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
