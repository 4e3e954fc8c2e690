"""What `mesh up` shows: a failed start says why once and last, a slow one says what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.cli.progress import Progress
from mesh.launcher.kept import LauncherEvent
from mesh.launcher.outline import Outline

KEYS = "keys is open to other users"


@pytest.fixture
def progress(tmp_path: Path) -> Callable[[], Progress]:
    outline = Outline("test", "development", tmp_path, tmp_path, "mainpc", 100)
    return lambda: Progress(outline, ["mainpc", "pc2"], json=False, status_fd=None)


def refused(child: str, message: str) -> LauncherEvent:
    return LauncherEvent("refused", child, f"{child} cannot start: {message}", {"message": message})


def ready(**data: object) -> LauncherEvent:
    return LauncherEvent("ready", None, "1/1 agents ready in 0.1 s on pc2", {
        "ready": 1, "total": 1, "degraded": [], "failed": [], "missing": [], "alone": [], **data})


def test_a_start_that_fails_says_why_once_and_last(
    progress: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = progress()
    shown(LauncherEvent("status", "pc2", "pc2: failed", {"event": "failed", "message": KEYS}))
    for child in ("pc2", "mainpc", "registry"):
        shown(refused(child, KEYS))
    shown.end(2)
    told = capsys.readouterr()
    assert KEYS not in told.out and told.err == f"nothing was started: pc2 cannot start: {KEYS}\n"


def test_several_reasons_stand_below_each_other(
    progress: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = progress()
    shown(refused("pc2", "port 1 is taken"))
    shown(refused("mainpc", "port 2 is taken"))
    shown.end(2)
    assert capsys.readouterr().err == ("nothing was started\n    pc2 cannot start: port 1 is taken\n"
                                       "    mainpc cannot start: port 2 is taken\n")


def test_a_host_that_is_refused_later_is_told_at_once(
    progress: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = progress()
    shown(ready())
    shown(refused("pc2", KEYS))
    assert f"pc2 cannot start: {KEYS}" in capsys.readouterr().out


def test_what_a_slow_start_waits_for_is_told(
    progress: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    progress()(LauncherEvent("status", "pc2", "pc2: waiting", {"event": "waiting", "message": "pc2 waits for it"}))
    assert capsys.readouterr().out.endswith("\npc2 waits for it\n")


def test_a_host_that_the_registry_does_not_answer_is_named_with_the_reason(
    progress: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    progress()(ready(alone=[{"host": "pc2", "endpoint": "tcp://10.0.0.1:7400", "reason": "it does not know this key"}]))
    assert ("    pc2 is not in the mesh: the registry at tcp://10.0.0.1:7400 does not answer it "
            "(it does not know this key)\n") in capsys.readouterr().out
