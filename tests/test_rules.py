"""Rules of the code that a machine can check, beside the linters'."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sources(*folders: str) -> list[Path]:
    """Return the Python files below some folders."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_test_sleeps() -> None:
    found = []
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep")
                and not (node.args and ast.unparse(node.args[0]) == "0") and path.name != "eventually.py"
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == [], "wait for a condition with tests/eventually.py"


def test_no_module_is_called_utils() -> None:
    names = {path.stem for path in sources("mesh", "registry", "agents")}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_nothing_is_unpickled() -> None:
    for path in sources("mesh", "registry", "agents"):
        unsafe = r"\bimport (?:pickle|marshal|shelve)\b|recv_pyobj|(?<!\.)\beval\(|yaml\.(?:unsafe|full)_load"
        assert not re.search(unsafe, path.read_text()), path


def test_agents_know_no_addresses() -> None:
    for path in sources("agents"):
        assert not re.search(r"tcp://\d|\bimport zmq\b|\b\d{1,3}(?:\.\d{1,3}){3}\b", path.read_text()), path
