"""Rules for the whole suite: a skipped test fails the run, unless its reason is one of these."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.project import Project, project
from tests.redis_server import RedisServer, redis_running

ROOT = Path(__file__).resolve().parent.parent

ALLOWED_SKIPS = (
    "needs root to mount a small file system",
    "only Linux tells a process of its parent's death",
    "needs systemd-analyze to verify units",
    "needs root to make two machines of network namespaces",
)

# How fast examples are made says something of the machine, nothing of the code.
settings.register_profile("mesh", suppress_health_check=[HealthCheck.too_slow], deadline=None, derandomize=True)
# `make test` tries the same examples each time: it fails for a change, never by chance. `make soak` explores, with 200
# examples of each for every minute that it is given.
_minutes = os.environ.get("MESH_HYPOTHESIS", "")
if _minutes:
    settings.register_profile("explore", settings.get_profile("mesh"), derandomize=False,
                              max_examples=min(20_000, 200 * int(_minutes)))
settings.load_profile("explore" if _minutes else "mesh")

_skipped: list[str] = []

# What a command prints off a terminal must not depend on the one that the tests were started from.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

# A shell may have started the tests in the background: the programs they start would be deaf to Ctrl-C as well.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped for a reason that is not on the list."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left something out."""
    if _skipped and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    for line in _skipped:
        terminalreporter.write_line(f"skipped without an allowed reason: {line}", red=True)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Project]:
    """The project's own agents and config in a folder of its own, on free ports."""
    with project(tmp_path) as made:
        hosts = (made.root / "config" / "hosts.yaml").read_text()
        shutil.rmtree(made.root / "config")
        for folder in ("agents", "config"):
            shutil.copytree(ROOT / folder, made.root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        (made.root / "config" / "hosts.yaml").write_text(hosts)
        (made.root / "tests" / "agents").mkdir(parents=True)
        yield made


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of the test's own, without a password."""
    with redis_running(tmp_path / "redis") as server:
        yield server
