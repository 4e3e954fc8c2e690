"""`tools/make_venv.sh`: any Python that fits makes .venv; what cannot says the one command to run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "make_venv.sh"
GOOD = """
case "$*" in
    *ensurepip*) exit {no_pip} ;;
    *python%d*) echo python3.11-venv ;;
    -V) echo Python {version} ;;
    -c*) exit {unfit} ;;
    "-m venv .venv") mkdir -p .venv/bin && echo "made by {name}" > .venv/made ;;
esac
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder whose `bin` is all that is on the path, with the few tools the script itself uses."""
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "head", "rm", "mkdir", "env"):
        (tmp_path / "bin" / tool).symlink_to(next(path for path in (Path("/bin", tool), Path("/usr/bin", tool))
                                                  if path.exists()))
    program(tmp_path, "id", "echo 1000")
    return tmp_path


def program(here: Path, name: str, text: str) -> None:
    path = here / "bin" / name
    path.write_text(f"#!{here}/bin/sh\n{text}\n")
    path.chmod(0o755)


def python(here: Path, name: str, *, version: str = "3.11.2", no_pip: int = 0, unfit: int = 0) -> None:
    program(here, name, GOOD.format(name=name, version=version, no_pip=no_pip, unfit=unfit))


def made(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", str(SCRIPT), *arguments], cwd=here, env={**os.environ, "PATH": str(here / "bin")},
                          capture_output=True, text=True)


def test_the_first_python_that_fits_is_taken(here: Path) -> None:
    python(here, "python3.11", unfit=1)  # as one of pyenv that is not switched on
    python(here, "python3.12")
    python(here, "python3", version="3.13.1")
    assert made(here).returncode == 0
    assert (here / ".venv" / "made").read_text() == "made by python3.12\n"


def test_one_that_can_make_a_virtual_environment_goes_before_one_that_cannot(here: Path) -> None:
    python(here, "python3.11", no_pip=1)
    python(here, "python3.13")
    assert made(here).returncode == 0
    assert (here / ".venv" / "made").read_text() == "made by python3.13\n"


def test_a_user_of_debian_is_told_the_command_for_root(here: Path) -> None:
    python(here, "python3", no_pip=1)
    done = made(here)
    assert done.returncode == 2
    assert done.stderr.endswith("run this as root, then make again:\n    apt-get install python3.11-venv\n")


def test_root_on_debian_gets_the_package(here: Path) -> None:
    python(here, "python3", no_pip=1)
    program(here, "id", "echo 0")
    program(here, "apt-get", 'echo "$*" >> asked')
    done = made(here)
    assert done.returncode == 0, done.stderr
    assert (here / "asked").read_text().splitlines() == ["update -qq", "install -y -qq python3.11-venv"]
    assert (here / ".venv" / "made").exists()


def test_a_package_that_cannot_be_had_is_told_with_what_apt_said(here: Path) -> None:
    python(here, "python3", no_pip=1)
    program(here, "id", "echo 0")
    program(here, "apt-get", 'echo "Temporary failure resolving"; exit 100')
    done = made(here)
    assert done.returncode == 2
    assert "Temporary failure resolving" in done.stderr and "python3.11-venv could not be installed" in done.stderr


@pytest.mark.parametrize(("named", "says"), [
    ("python3.12", "there is no python3.12 here"),
    ("python3.9", "the mesh needs Python 3.11 to 3.13, and python3.9 says it is 'Python 3.9.18'"),
])
def test_a_named_python_that_will_not_do_is_refused(here: Path, named: str, says: str) -> None:
    python(here, "python3.11")
    python(here, "python3.9", version="3.9.18", unfit=1)
    done = made(here, named)
    assert done.returncode == 2 and says in done.stderr and "make install PYTHON=" in done.stderr
    assert not (here / ".venv").exists()


def test_without_any_python_the_way_to_one_is_told(here: Path) -> None:
    done = made(here)
    assert done.returncode == 2 and "apt-get install python3" in done.stderr


def test_one_that_works_is_kept_and_one_of_another_folder_is_made_anew(here: Path) -> None:
    python(here, "python3.11")
    (here / ".venv" / "bin").mkdir(parents=True)
    program(here, "../.venv/bin/python", "exit 0")
    for folder, kept in ((here, True), (here / "elsewhere", False)):
        (here / ".venv" / "bin" / "pip").write_text(f"#!{folder}/.venv/bin/python\n")
        assert made(here).returncode == 0
        assert (here / ".venv" / "made").exists() is not kept
