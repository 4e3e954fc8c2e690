"""Which files of the agent folders an agent is made of: its own, what it imports from its neighbours, data it names.

Read from the source, so that an import inside a function counts as well. A file that cannot be read as Python counts
alone; what it is made of is seen again when it can.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

DATA = re.compile(r"[\w-]+\.(ya?ml|toml|json|csv|txt)\Z")
PREFIX = "agents_"
SHARED = "shared"

Stamp = tuple[int, int, int]


class Sources:
    """Reads each file once until it changes; `agents` is the folder that holds the agent folders."""

    def __init__(self, agents: Path) -> None:
        self._agents = agents
        self._read: dict[Path, tuple[Stamp | None, frozenset[Path]]] = {}

    def of(self, file: Path) -> frozenset[Path]:
        """Return the files an agent file is made of, itself among them."""
        found: set[Path] = set()
        waiting = [file]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting += self._direct(path)
        return frozenset(found)

    def _direct(self, path: Path) -> frozenset[Path]:
        now = stamp(path)
        before, known = self._read.get(path, (None, frozenset()))
        if path.suffix != ".py" or (now is not None and now == before):
            return known
        try:
            known = frozenset(self._named(path, ast.parse(path.read_bytes())))
        except (OSError, SyntaxError, ValueError):
            return known  # as it was when it could be read
        self._read[path] = (now, known)
        return known

    def _named(self, path: Path, tree: ast.AST) -> Iterator[Path]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._module(alias.name.split("."))
            elif isinstance(node, ast.ImportFrom):
                yield from self._imported(path, node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DATA.match(node.value):
                places = (path.parent / node.value, self._agents / SHARED / node.value)
                yield from (place for place in places if place.is_file())

    def _imported(self, path: Path, node: ast.ImportFrom) -> Iterator[Path]:
        steps = node.module.split(".") if node.module else []
        if node.level:
            base = path.parents[node.level - 1]
            for alias in node.names:
                yield from _files(base.joinpath(*steps), alias.name)
        else:
            yield from self._module(steps)
            for alias in node.names:
                yield from self._module([*steps, alias.name])

    def _module(self, steps: list[str]) -> Iterator[Path]:
        folder, *inside = steps
        if folder.startswith(PREFIX) and inside:
            yield from _files((self._agents / folder.removeprefix(PREFIX)).joinpath(*inside[:-1]), inside[-1])


def _files(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a module, and those of the packages it is in."""
    places = (folder / f"{name}.py", folder / name / "__init__.py", folder / "__init__.py", folder.with_suffix(".py"))
    for path in places:
        if path.is_file():
            yield path


def stamp(path: Path) -> Stamp | None:
    """Return what differs once a file was saved, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
