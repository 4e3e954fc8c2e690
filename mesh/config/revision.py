"""Which state of a project a host runs: a hash of its agents and their config, the same on any two equal checkouts.

`config/hosts.yaml` does not count: each machine has its own, with the keys of the others. Neither does what git
ignores or what an editor leaves: hidden files and compiled ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("agents", "config/agents")
DIGITS = 12
WHOLE = 1024 * 1024

_LEFT_OUT = frozenset({"__pycache__"})


def revision(root: Path) -> str:
    """Return 12 hexadecimal digits that stand for the agents' files and config below `root`.

    Of a file over 1 MiB only the size and the first MiB count. A file that cannot be read counts as such.
    """
    digest = hashlib.blake2b(digest_size=DIGITS // 2)
    for folder in FOLDERS:
        for path in sorted(_files(root / folder), key=lambda path: path.relative_to(root).as_posix()):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(_content(path))
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder; one that cannot be listed is empty."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.name.startswith(".") or path.name in _LEFT_OUT or path.suffix == ".pyc":
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return f"{path.stat().st_size}\0".encode() + file.read(WHOLE)
    except OSError:
        return b"unreadable\0"
