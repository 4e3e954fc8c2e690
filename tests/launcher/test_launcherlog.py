"""What the launcher does stands in the log of the host it is done to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mesh.launcher.kept import LauncherEvent
from mesh.launcher.launcherlog import LauncherLog

HOSTS = {"registry": "mainpc", "mainpc": "mainpc", "pc2": "pc2"}


def lines(home: Path, host: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / host / "logs" / "launcher.log").read_text().splitlines()]


def test_each_host_has_what_concerns_it(tmp_path: Path) -> None:
    log = LauncherLog(tmp_path, HOSTS)
    log.tell(LauncherEvent("started", "registry", "the registry runs as pid 7"))
    log.tell(LauncherEvent("restarting", "pc2", "the supervisor of pc2 died", {"last_words": "Segmentation fault"}))
    log.tell(LauncherEvent("status", "pc2", "the supervisor of pc2: waiting", {"message": "for mainpc"}))
    log.tell(LauncherEvent("stopping", None, "Ctrl-C"))
    log.close()
    assert [(line["level"], line["host"], line["service"], line["message"]) for line in lines(tmp_path, "mainpc")] == [
        ("info", "mainpc", "launcher", "the registry runs as pid 7"), ("info", "mainpc", "launcher", "Ctrl-C")]
    assert [(line["level"], line["message"]) for line in lines(tmp_path, "pc2")] == [
        ("error", "the supervisor of pc2 died\nSegmentation fault"),
        ("info", "the supervisor of pc2: waiting: for mainpc"), ("info", "Ctrl-C")]


def test_a_folder_that_cannot_be_written_costs_nothing_but_its_log(tmp_path: Path) -> None:
    (tmp_path / "mainpc").write_text("in the way")
    log = LauncherLog(tmp_path, HOSTS)
    log.tell(LauncherEvent("stopping", None, "Ctrl-C"))
    log.close()
    assert len(lines(tmp_path, "pc2")) == 1
