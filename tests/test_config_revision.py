"""Two equal checkouts have one revision; whatever runs differently has another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mesh.config.revision import WHOLE, revision


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "one"
    (root / "agents" / "mainpc").mkdir(parents=True)
    (root / "config" / "agents").mkdir(parents=True)
    (root / "agents" / "mainpc" / "lamp.py").write_text("one")
    (root / "config" / "agents" / "lamp.yaml").write_text("class: x")
    (root / "config" / "hosts.yaml").write_text("mesh: home")
    return root


def test_a_copy_elsewhere_has_the_same(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "two")
    assert revision(checkout) == revision(tmp_path / "two") and len(revision(checkout)) == 12


@pytest.mark.parametrize("name", ["config/hosts.yaml", "agents/.lamp.py.swp", "agents/__pycache__/lamp.pyc", "README"])
def test_what_each_machine_has_of_its_own_does_not_count(checkout: Path, name: str) -> None:
    before = revision(checkout)
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("something else")
    assert revision(checkout) == before


@pytest.mark.parametrize("name", ["agents/mainpc/lamp.py", "agents/shared/words.toml", "config/agents/lamp.yaml"])
def test_what_runs_counts(checkout: Path, name: str) -> None:
    before = revision(checkout)
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("two")
    assert revision(checkout) != before


def test_a_moved_file_counts(checkout: Path) -> None:
    before = revision(checkout)
    (checkout / "agents" / "mainpc" / "lamp.py").rename(checkout / "agents" / "lamp.py")
    assert revision(checkout) != before


def test_a_large_file_counts_by_its_size_and_its_begin(checkout: Path) -> None:
    large = checkout / "agents" / "model.bin"
    found = set()
    for content in (b"a" * WHOLE, b"a" * (WHOLE + 1), b"b" + b"a" * WHOLE):
        large.write_bytes(content)
        found.add(revision(checkout))
    assert len(found) == 3


def test_a_project_without_agents_has_one_too(tmp_path: Path) -> None:
    assert len(revision(tmp_path)) == 12
