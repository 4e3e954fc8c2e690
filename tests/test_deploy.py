"""The systemd units are right by systemd's own word, and what they start behaves as they rely on."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eventually import wait_until
from tests.project import Project, project

ROOT = Path(__file__).resolve().parent.parent
UNITS = ROOT / "deploy" / "systemd"
REGISTRY, HOST = UNITS / "mesh-registry.service", UNITS / "mesh-host@.service"


SLOW = """
from mesh import Agent, operation


class It(Agent):
    @operation(idempotent=True)
    async def quick(self) -> None: ...

    @operation
    async def slow(self) -> str:
        (self.folder / "begun").touch()
        await self.clock.sleep(2.0)
        return "done"
"""


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Project]:
    """A project without agents, not started."""
    with project(tmp_path) as made:
        yield made


def started(unit: Path, host: str = "") -> list[str]:
    """Return what a unit starts, with this installation's programs in the place of those in /opt/mesh."""
    line = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    assert line is not None
    program, *arguments = line[1].replace("%i", host).split()
    return [str(Path(sys.executable).with_name(Path(program).name)), *arguments]


def spawn(project: Project, unit: Path, host: str = "") -> subprocess.Popen[str]:
    """Start what a unit starts, in a project's folder."""
    return subprocess.Popen(started(unit, host), cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze to verify units")
@pytest.mark.parametrize("unit", [REGISTRY, HOST])
def test_systemd_finds_nothing_wrong_with_the_units(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    for program in re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE):
        text = text.replace(program, "/bin/true")
    copy = tmp_path / unit.name.replace("@.", "@mainpc.")
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", f"./{copy.name}"], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    about_units = [line for line in done.stderr.splitlines() if unit.name.partition("@")[0] in line]
    assert done.returncode == 0 and about_units == []


def test_both_units_are_of_one_installation() -> None:
    for key in ("User", "Group", "WorkingDirectory", "ReadWritePaths", "Environment", "EnvironmentFile"):
        values = {tuple(re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)) for unit in (REGISTRY, HOST)}
        assert len(values) == 1 and values != {()}, key
    page = (ROOT / "docs" / "two-hosts.md").read_text()
    assert all(unit.name in page for unit in (REGISTRY, HOST))


def test_what_the_units_start_serves_and_drains_at_sigterm(empty: Project) -> None:
    empty.agent("far", SLOW, host="mainpc")
    registry, host = spawn(empty, REGISTRY), spawn(empty, HOST, "mainpc")
    try:
        wait_until(lambda: empty.call("far.quick")["ok"], 40)
        call = empty.spawn("mesh.cli", "call", "far.slow", "--json")
        wait_until((empty.home / "mainpc" / "state" / "far" / "begun").exists, 20)
        host.send_signal(signal.SIGTERM)
        assert host.wait(20) == 0
        call.wait(20)
        assert json.loads(empty.output(call))["result"] == "done"  # a running call had its time
        registry.send_signal(signal.SIGTERM)
        assert registry.wait(10) == 0  # Restart=on-failure leaves both down
    finally:
        for process in (host, registry):
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("unit", "host"), [(REGISTRY, ""), (HOST, "mainpc")])
def test_a_broken_config_ends_them_with_the_reason(empty: Project, unit: Path, host: str) -> None:
    (empty.root / "config" / "hosts.yaml").write_text("mesh: test\n")
    process = spawn(empty, unit, host)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 2 and "hosts" in told
