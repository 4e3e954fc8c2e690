"""The hosts of a project that run although nothing in its home folder speaks of them any more: it was deleted.

Their command lines still do: a launcher starts each host with its name and the project's folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MODULE = "mesh.supervisor"


def unlisted(root: Path, home: Path) -> dict[str, psutil.Process]:
    """Return the supervisors of this user for the project at `root` that keep their state in `home`, by host."""
    found: dict[str, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):
            words = process.cmdline()
            if MODULE in words and process.uids().real == os.getuid() and _after(words, "--config") == str(root):
                keeps = root / Path(process.environ().get("MESH_HOME") or ".mesh").expanduser()
                if keeps.resolve() == home.resolve():
                    found[_after(words, "--host")] = process
    return found


def _after(words: Sequence[str], option: str) -> str:
    """Return the word after an option; raises `ValueError` where there is none."""
    at = words.index(option) + 1
    if at == len(words):
        raise ValueError(option)
    return words[at]
