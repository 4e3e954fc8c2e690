"""Draws docs/screens/*.svg: what the command line shows of a healthy and of a broken mesh, taken from real ones.

python -m tools.screens [NAME ...]     draws all screens, or those named

The mesh is this project's own, copied to a temporary folder, on free ports; each command runs on a terminal of its own.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.project import Project, project

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "screens"
COLUMNS, LINES = 110, 40

FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Like rich's own format, without fonts that a browser would fetch from elsewhere."""

FAULTY = '''
from mesh import Agent, operation


class It(Agent):
    """Fetches the weather, when it is let."""

    async def setup(self) -> None:
        raise ConnectionError("the weather service at weather.example answers 503")

    @operation
    async def today(self) -> str:
        """Return today's weather."""
        return "rain"
'''

BLOCKING = '''
import time

from mesh import Agent, operation


class It(Agent):
    """Reads the electricity meter, slowly."""

    @operation
    async def reading(self) -> int:
        """Return the meter's reading in kWh."""
        time.sleep(0.9)
        return 4711
'''


def draw(mesh: Project, name: str, *command: str) -> None:
    """Run one command on a terminal and keep what it shows as a picture; its exit code is told."""
    shown, code = _on_a_terminal(mesh, command)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown), soft_wrap=False)
    title = "mesh " + " ".join(command) + (f"   (exit code {code})" if code else "")
    FOLDER.mkdir(exist_ok=True)
    picture = console.export_svg(title=title, code_format=FORMAT, unique_id=name)
    (FOLDER / f"{name}.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(f"{name}: {title}")


def _on_a_terminal(mesh: Project, command: tuple[str, ...]) -> tuple[str, int]:
    """Return what a command prints on a terminal, and its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen([sys.executable, "-m", "mesh.cli", *command], cwd=mesh.root, stdin=slave, stdout=slave,
                               stderr=slave, env={**os.environ, "TERM": "xterm-256color"}, start_new_session=True)
    os.close(slave)
    shown = b"".join(_read(master))
    os.close(master)
    return shown.decode(errors="replace").replace("\r\n", "\n"), process.wait(60)


def _read(master: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the program at the other end has ended
            return
        if not part:
            return
        yield part


@contextmanager
def copied() -> Iterator[Project]:
    """Give this project's agents and config in a folder of their own, on free ports."""
    with tempfile.TemporaryDirectory() as folder, project(Path(folder)) as mesh:
        hosts = (mesh.root / "config" / "hosts.yaml").read_text()
        shutil.rmtree(mesh.root / "config")
        for part in ("agents", "config"):
            shutil.copytree(ROOT / part, mesh.root / part, ignore=shutil.ignore_patterns("__pycache__"))
        (mesh.root / "config" / "hosts.yaml").write_text(hosts)
        yield mesh


def _used(mesh: Project) -> str:
    """Talk to the mesh a little and return the trace of a question that crossed both hosts."""
    for said in ("My sister's birthday is on the third of May.", "The spare key is under the blue flower pot."):
        mesh.mesh("ask", said, "--user", "ann")
    answer = json.loads(mesh.mesh("ask", "When is my sister's birthday?", "--user", "ann", "--json").stdout)
    return str(answer["trace_id"])


def healthy(wanted: set[str]) -> None:
    """Draw a mesh on which all is well."""
    with copied() as mesh:
        mesh.up()
        trace = _used(mesh)
        for name, command in {
            "status": ("status",), "agents": ("agents",), "plan": ("plan",), "top": ("top", "--once"),
            "graph": ("graph",), "graph-observed": ("graph", "--observed"), "trace": ("trace", trace),
            "why": ("why", "memory_client"), "blame": ("blame",), "doctor": ("doctor",),
        }.items():
            if not wanted or name in wanted:
                draw(mesh, name, *command)


def broken(wanted: set[str]) -> None:
    """Draw a mesh with an agent that cannot start, one that holds the loop, one that is stopped, and a dead host."""
    with copied() as mesh:
        mesh.agent("weather", FAULTY)
        mesh.agent("meter", BLOCKING)
        for host in ("mainpc", "pc2"):
            mesh.up("--host", host)
        _used(mesh)
        mesh.mesh("agent", "stop", "nlu")
        for _ in range(3):
            mesh.call("meter.reading")
        launcher = next(one for one in mesh.processes() if "--host" in one.cmdline() and "pc2" in one.cmdline()
                        and "up" in one.cmdline())
        launcher.suspend()  # or it would start the host again
        mesh.kill("pc2")
        launcher.kill()
        failed = json.loads(mesh.mesh("ask", "When is my sister's birthday?", "--user", "ann", "--json").stdout)
        for name, command in {
            "status": ("status",), "top": ("top", "--once"), "graph": ("graph", "--observed"),
            "trace": ("trace", str(failed.get("trace_id"))), "why-stopped": ("why", "nlu"),
            "why-dead": ("why", "memory_orchestrator"), "why-failing": ("why", "weather"), "blame": ("blame",),
            "doctor": ("doctor",), "errors": ("errors",),
        }.items():
            if not wanted or f"broken-{name}" in wanted:
                draw(mesh, f"broken-{name}", *command)


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="screens to draw; all without")
    wanted = set(parser.parse_args().names)
    if not wanted or any(not name.startswith("broken-") for name in wanted):
        healthy(wanted)
    if not wanted or any(name.startswith("broken-") for name in wanted):
        broken(wanted)


if __name__ == "__main__":
    main()
