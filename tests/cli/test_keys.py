"""`mesh keys show` prints the line that another machine needs, and never a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mesh.transport.keys import fingerprint, read_key
from tests.cli.runner import run
from tests.project import Project, project


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        yield given


def test_the_line_can_be_pasted_into_hosts_yaml(made: Project) -> None:
    result = run(made.root, "keys", "show")
    pair = read_key(made.home / "keys", "pc2")
    assert result.code == 0 and pair is not None
    assert yaml.safe_load(result.out)["pc2"] == {
        "address": "127.0.0.1", "port": made.ports["pc2"][0], "events_port": made.ports["pc2"][1],
        "metrics_port": made.ports["pc2"][2], "key": pair.public,
    }
    assert pair.secret not in result.out and fingerprint(pair.public) in result.out


def test_the_keys_stay_the_same(made: Project) -> None:
    first = run(made.root, "keys", "show", "--json").json()
    assert run(made.root, "keys", "show", "--json").json() == first
    assert [(row["name"], row["kind"]) for row in first] == [
        ("mainpc", "host"), ("pc2", "host"), ("operator", "operator")]
    assert all(row["fingerprint"] == fingerprint(row["key"]) for row in first)


def test_one_host_can_be_asked_for(made: Project) -> None:
    rows = run(made.root, "keys", "show", "--host", "pc2", "--json").json()
    assert [row["name"] for row in rows] == ["pc2", "operator"]


def test_hosts_of_other_machines_are_not_shown(made: Project) -> None:
    hosts = made.root / "config" / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace("pc2: {address: 127.0.0.1", "pc2: {address: 192.0.2.1"))
    assert [row["name"] for row in run(made.root, "keys", "show", "--json").json()] == ["mainpc", "operator"]
    assert not (made.home / "keys" / "pc2.key").exists()


def test_a_key_folder_that_others_may_read_is_refused_with_the_command(made: Project) -> None:
    run(made.root, "keys", "show")
    (made.home / "keys").chmod(0o755)
    result = run(made.root, "keys", "show")
    assert result.code == 2 and "chmod 700" in result.err
