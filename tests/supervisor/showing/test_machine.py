"""What a host tells of its machine changes with the machine."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.config import load
from mesh.supervisor.showing.machine import machine
from mesh.transport.keys import ensure_key, fingerprint
from tests.project import Project, project


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        yield given


def facts(made: Project, host: str = "mainpc") -> dict[str, Any]:
    return machine(load(made.root), host)


def test_keys_are_told_by_fingerprint_only(made: Project) -> None:
    assert facts(made)["keys"] == {"own": None, "written": None, "known": {"pc2": None}, "trouble": []}
    own, other = (ensure_key(made.home / "keys", name) for name in ("mainpc", "pc2"))
    told = facts(made)
    assert told["keys"]["own"] == fingerprint(own.public)
    assert told["keys"]["known"] == {"pc2": fingerprint(other.public)}
    assert own.secret not in repr(told) and own.public not in repr(told)


def test_a_pasted_key_comes_before_a_file(made: Project) -> None:
    key = ensure_key(made.root / "elsewhere", "pc2").public
    hosts = made.root / "config" / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace("pc2: {", f'pc2: {{key: "{key}", '))
    assert facts(made)["keys"]["known"] == {"pc2": fingerprint(key)}
    assert facts(made, "pc2")["keys"]["written"] == fingerprint(key)


def test_an_open_folder_and_a_damaged_file_are_trouble(made: Project) -> None:
    ensure_key(made.home / "keys", "mainpc")
    (made.home / "keys").chmod(0o755)
    assert any("chmod 700" in trouble for trouble in facts(made)["keys"]["trouble"])
    (made.home / "keys").chmod(0o700)
    (made.home / "keys" / "pc2.key").write_text("nonsense")
    (made.home / "keys" / "pc2.key").chmod(0o600)
    assert any("damaged" in trouble for trouble in facts(made)["keys"]["trouble"])


def test_the_limit_of_open_files_is_the_one_in_force(made: Project) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        assert facts(made)["descriptors"] == soft - 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = facts(made)["descriptors_used"]
    with (made.root / "config" / "hosts.yaml").open():
        assert facts(made)["descriptors_used"] == before + 1


def test_packages_are_told_with_their_versions(made: Project) -> None:
    assert all(facts(made)["packages"].values())
