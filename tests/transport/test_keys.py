"""Keys are made once, kept private, and known only of those who are meant."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from mesh.config import HostConfig, MeshConfig, RegistryConfig
from mesh.errors import ConfigError, StartError
from mesh.transport.keys import KeyPair, ensure_for, ensure_key, fingerprint, is_key, key_folder, read_key


def config(home: Path, **hosts: tuple[str, str | None]) -> MeshConfig:
    """Return a configuration of hosts given as (address, key)."""
    return MeshConfig(
        mesh="home",
        registry=RegistryConfig(host=next(iter(hosts)), port=7400),
        hosts={
            name: HostConfig(name=name, address=address, port=1, events_port=2, metrics_port=3, key=key)
            for name, (address, key) in hosts.items()
        },
        root=home.parent,
        home=home,
    )


def public_key() -> str:
    public, _ = zmq.curve_keypair()
    return public.decode()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- one pair ---------------------------------------------------------------------------------------------------------


def test_a_pair_is_made_at_the_first_start_and_found_at_the_next(tmp_path: Path) -> None:
    folder = tmp_path / ".mesh" / "keys"
    first = ensure_key(folder, "mainpc")
    assert ensure_key(folder, "mainpc") == first == read_key(folder, "mainpc")
    assert zmq.curve_public(first.secret.encode()).decode() == first.public
    assert mode(folder) == 0o700
    assert mode(folder / "mainpc.key") == 0o600
    assert [path.name for path in folder.iterdir()] == ["mainpc.key"], "temporary files stay behind"


def test_each_name_has_a_pair_of_its_own(tmp_path: Path) -> None:
    assert ensure_key(tmp_path / "keys", "mainpc") != ensure_key(tmp_path / "keys", "pc2")


def test_processes_that_start_at_once_end_with_the_same_key(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from mesh.transport.keys import ensure_key; print('here', flush=True); sys.stdin.read(1);"
        "print(ensure_key(pathlib.Path(sys.argv[1]), 'mainpc').public)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "keys")], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("x")
        child.stdin.flush()
    publics = {child.communicate(timeout=30)[0].strip() for child in children}
    assert publics == {ensure_key(tmp_path / "keys", "mainpc").public}


def test_the_slower_of_two_takes_the_key_of_the_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keys"
    faster = ensure_key(folder, "mainpc")
    (folder / "mainpc.key").rename(tmp_path / "aside")
    generate = zmq.curve_keypair

    def meanwhile() -> tuple[bytes, bytes]:
        (tmp_path / "aside").rename(folder / "mainpc.key")
        return generate()

    monkeypatch.setattr(zmq, "curve_keypair", meanwhile)
    assert ensure_key(folder, "mainpc") == faster
    assert [path.name for path in folder.iterdir()] == ["mainpc.key"]


def test_a_secret_does_not_show_in_a_repr() -> None:
    public, secret = zmq.curve_keypair()
    shown = repr(KeyPair(public.decode(), secret.decode()))
    assert secret.decode() not in shown
    assert public.decode() in shown


def test_a_fingerprint_is_short_readable_and_the_same_every_time() -> None:
    one, other = public_key(), public_key()
    assert re.fullmatch(r"([0-9a-f]{4}-){3}[0-9a-f]{4}", fingerprint(one))
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)


# --- files that cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rights", [0o644, 0o640, 0o604, 0o602])
def test_a_key_file_others_may_read_is_refused_with_the_command(tmp_path: Path, rights: int) -> None:
    ensure_key(tmp_path / "keys", "mainpc")
    path = tmp_path / "keys" / "mainpc.key"
    path.chmod(rights)
    with pytest.raises(StartError, match=re.escape(f"chmod 600 {path}")):
        ensure_key(tmp_path / "keys", "mainpc")


def test_a_key_folder_others_may_enter_is_refused_with_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    ensure_key(folder, "mainpc")
    folder.chmod(0o755)
    with pytest.raises(StartError, match=re.escape(f"chmod 700 {folder}")):
        ensure_key(folder, "mainpc")


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartError, match=rf"{re.escape(str(tmp_path / 'file' / 'keys'))} cannot be made.*MESH_HOME"):
        ensure_key(tmp_path / "file" / "keys", "mainpc")


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mesh.transport.keys.os.link", refused)  # root, whom tests may run as, is refused nothing
    with pytest.raises(StartError, match=r"mainpc\.key cannot be made: Permission denied; make .* writable"):
        ensure_key(tmp_path / "keys", "mainpc")
    assert list((tmp_path / "keys").iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "binary", "another secret", "not z85"])
def test_a_damaged_key_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "keys"
    ensure_key(folder, "mainpc")
    path = folder / "mainpc.key"
    text = path.read_text()
    secret = zmq.curve_keypair()[1].decode()
    path.write_bytes({
        "empty": b"",
        "cut": text[:60].encode(),
        "binary": b"\xff\x00" * 40,
        "another secret": f"{text.splitlines()[0]}\nsecret {secret}\n".encode(),
        "not z85": f"{text.splitlines()[0]}\nsecret {'~' * 40}\n".encode(),
    }[damage])
    with pytest.raises(StartError, match=rf"{re.escape(str(path))} (is damaged; .* delete it|cannot be read)"):
        ensure_key(folder, "mainpc")


def test_a_key_file_that_is_a_folder_is_an_error_in_words(tmp_path: Path) -> None:
    ensure_key(tmp_path / "keys", "mainpc")
    (tmp_path / "keys" / "pc2.key").mkdir(mode=0o700)
    with pytest.raises(StartError, match=r"pc2\.key cannot be read"):
        ensure_key(tmp_path / "keys", "pc2")


# --- whose keys are known ---------------------------------------------------------------------------------------------


def test_with_all_hosts_on_loopback_nothing_need_be_pasted(tmp_path: Path) -> None:
    settings = config(tmp_path / ".mesh", mainpc=("127.0.0.1", None), pc2=("127.0.0.1", None))
    keys = ensure_for(settings, "mainpc")
    other = ensure_for(settings, "pc2")
    assert keys.peer("mainpc") == keys.own.public
    assert keys.peer("pc2") == other.own.public
    operator = read_key(key_folder(settings), "operator")
    assert operator is not None
    assert keys.allow == other.allow == {
        keys.own.public.encode(): "mainpc", other.own.public.encode(): "pc2", operator.public.encode(): "operator"
    }


def test_the_operator_has_the_hosts_keys_and_its_own(tmp_path: Path) -> None:
    settings = config(tmp_path / ".mesh", mainpc=("127.0.0.1", None))
    host, operator = ensure_for(settings, "mainpc"), ensure_for(settings, "operator")
    assert operator.peer("mainpc") == host.own.public
    assert host.allow[operator.own.public.encode()] == "operator"


def test_a_host_elsewhere_is_known_by_the_key_in_the_configuration(tmp_path: Path) -> None:
    pasted = public_key()
    settings = config(tmp_path / ".mesh", mainpc=("192.168.1.10", None), pc2=("192.168.1.11", pasted))
    keys = ensure_for(settings, "mainpc")
    assert keys.peer("pc2") == pasted
    assert keys.allow[pasted.encode()] == "pc2"
    assert keys.sources["pc2"] == "config/hosts.yaml"
    assert not (tmp_path / ".mesh" / "keys" / "pc2.key").exists()


def test_a_host_elsewhere_without_a_key_is_not_trusted_and_the_command_is_told(tmp_path: Path) -> None:
    settings = config(tmp_path / ".mesh", mainpc=("192.168.1.10", None), pc2=("192.168.1.11", None))
    keys = ensure_for(settings, "mainpc")
    assert "pc2" not in keys.peers
    assert "pc2" not in keys.allow.values()
    with pytest.raises(StartError, match=r"run `mesh keys show` on pc2 .* hosts: pc2: in config/hosts.yaml"):
        keys.peer("pc2")


def test_two_hosts_on_one_machine_need_no_pasting_off_loopback_either(tmp_path: Path) -> None:
    settings = config(tmp_path / ".mesh", mainpc=("192.168.1.10", None), pc2=("192.168.1.10", None))
    other = ensure_for(settings, "pc2")
    assert ensure_for(settings, "mainpc").peer("pc2") == other.own.public


def test_a_pasted_key_comes_before_a_file_left_over_from_loopback(tmp_path: Path) -> None:
    home, pasted = tmp_path / ".mesh", public_key()
    ensure_for(config(home, mainpc=("127.0.0.1", None), pc2=("127.0.0.1", None)), "mainpc")
    keys = ensure_for(config(home, mainpc=("192.168.1.10", None), pc2=("192.168.1.11", pasted)), "mainpc")
    assert keys.peer("pc2") == pasted


def test_on_loopback_a_key_pasted_for_production_means_nothing(tmp_path: Path) -> None:
    pasted = public_key()
    settings = config(tmp_path / ".mesh", mainpc=("127.0.0.1", public_key()), pc2=("127.0.0.1", pasted))
    keys = ensure_for(settings, "mainpc")
    assert keys.peer("mainpc") == keys.own.public
    assert keys.peer("pc2") != pasted
    assert pasted.encode() not in keys.allow


@pytest.mark.parametrize("key", ["", "short", "x" * 39, "x" * 41, "x" * 39 + '"', "x" * 39 + "é", "#" * 40])
def test_a_key_that_is_none_is_refused_with_the_command(tmp_path: Path, key: str) -> None:
    assert not is_key(key)
    settings = config(tmp_path / ".mesh", mainpc=("192.168.1.10", None), pc2=("192.168.1.11", key))
    with pytest.raises(ConfigError, match=r"config/hosts.yaml: key: of host pc2 .* `mesh keys show` on pc2"):
        ensure_for(settings, "mainpc")


def test_every_generated_key_is_one() -> None:
    assert all(is_key(public_key()) for _ in range(200))


def test_an_own_key_other_than_the_pasted_one_stops_the_start(tmp_path: Path) -> None:
    pasted = public_key()
    settings = config(tmp_path / ".mesh", mainpc=("192.168.1.10", pasted))
    with pytest.raises(StartError, match=rf"key {fingerprint(pasted)}, but .*mainpc\.key holds .* would refuse"):
        ensure_for(settings, "mainpc")


def test_one_key_for_two_hosts_is_refused(tmp_path: Path) -> None:
    pasted = public_key()
    settings = config(
        tmp_path / ".mesh", mainpc=("10.0.0.1", None), pc2=("10.0.0.2", pasted), pc3=("10.0.0.3", pasted)
    )
    with pytest.raises(ConfigError, match="pc2 and pc3 have the same key"):
        ensure_for(settings, "mainpc")
