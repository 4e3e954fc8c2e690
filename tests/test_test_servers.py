"""`tools/test_servers.sh`: root installs the servers that tests start; anybody else is told the one command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "test_servers.sh"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder whose `bin` holds the tools the script itself uses, and no server."""
    (tmp_path / "bin").mkdir()
    program(tmp_path, "id", "echo 1000")
    return tmp_path


def program(here: Path, name: str, text: str) -> None:
    path = here / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def ran(here: Path) -> subprocess.CompletedProcess[str]:
    """Run the script where only `bin` is searched; it adds folders of its own, which are taken out here."""
    script = here / "script.sh"
    text = SCRIPT.read_text().replace("PATH=$PATH:/usr/sbin:/sbin", "")
    script.write_text(text.replace("/usr/sbin/policy-rc.d", str(here / "policy-rc.d")))
    for tool in ("printf", "chmod", "rm"):
        if not (here / "bin" / tool).exists() and Path("/bin", tool).exists():
            (here / "bin" / tool).symlink_to(Path("/bin", tool))
    return subprocess.run(["/bin/sh", str(script)], capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": str(here / "bin")})


def needed() -> list[tuple[str, str]]:
    """Return program and package of each server the script names."""
    lines = [line.split() for line in SCRIPT.read_text().splitlines() if line.startswith("need ")]
    return [(program, package) for _, program, package in lines]


def test_who_is_not_root_is_told_the_one_command(here: Path) -> None:
    done = ran(here)
    assert done.returncode == 2
    assert f"apt-get install {' '.join(package for _, package in needed())}" in done.stderr


def test_nothing_is_done_when_all_are_there(here: Path) -> None:
    for name, _ in needed():
        program(here, name, "")
    done = ran(here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_root_installs_what_is_absent_without_starting_services(here: Path) -> None:
    program(here, "id", "echo 0")
    program(here, "apt-get", f'echo "$@" >>{here}/asked; [ -e {here}/policy-rc.d ] && echo held >>{here}/asked; :')
    done = ran(here)
    assert done.returncode == 0, done.stderr
    asked = (here / "asked").read_text()
    assert f"install -y -qq {' '.join(package for _, package in needed())}\nheld" in asked
    assert not (here / "policy-rc.d").exists()


def test_a_failed_installation_is_told(here: Path) -> None:
    program(here, "id", "echo 0")
    program(here, "apt-get", "echo no network >&2; exit 100")
    done = ran(here)
    assert done.returncode == 2
    assert "no network" in done.stderr and "make again" in done.stderr
