"""Which hosts of `hosts.yaml` a command may talk to, in which order, and under which key.

This machine's own hosts come first: those on loopback or on an address of this machine. A host that a launcher of
this project runs here is looked for on loopback as well, since `mesh up` without a host always uses that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mesh.address import endpoint, is_loopback, is_own
from mesh.config import HostConfig, MeshConfig
from mesh.errors import StartError
from mesh.launcher.claim import running
from mesh.transport.keys import KeyPair, Keys, ensure_for, key_folder, read_key
from mesh.transport.link import Peer

OPERATOR = "operator"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Candidates:
    """The peers to try in order, this operator's key pair, and why the others are not tried."""

    peers: tuple[Peer, ...]
    own: KeyPair | None
    left_out: tuple[str, ...] = ()


def candidates(config: MeshConfig) -> Candidates:
    """Return whom to try; makes no key: where there is no operator key the mesh never ran."""
    if config.security == "none":
        return Candidates(tuple(Peer(host.name, at) for host, at in _places(config)), None)
    if read_key(key_folder(config), OPERATOR) is None:
        return Candidates((), None, (f"there is no {OPERATOR} key in {key_folder(config)}: the mesh never ran here, or "
                                     "the folder was deleted since",))
    keys = ensure_for(config, OPERATOR)
    peers: list[Peer] = []
    left_out: list[str] = []
    for host, at in _places(config):
        key = _key(keys, host.name)
        if key is None:
            left_out.append(f"{host.name} at {at}: its key is not known here (`mesh keys show` there prints it)")
        else:
            peers.append(Peer(host.name, at, key))
    return Candidates(tuple(peers), keys.own, tuple(left_out))


def _places(config: MeshConfig) -> list[tuple[HostConfig, str]]:
    """Return each host with each endpoint it may listen at, this machine's first."""
    own = [host for host in config.hosts.values() if is_own(host.address)]
    others = [host for host in config.hosts.values() if host not in own]
    launched = [name for launcher in running(config.home) for name in launcher.hosts]
    return list(_in_order(own, others, launched))


def _in_order(
    own: Sequence[HostConfig], others: Sequence[HostConfig], launched: Sequence[str]
) -> Iterator[tuple[HostConfig, str]]:
    for host in (*own, *others):
        if host.name in launched and not is_loopback(host.address):
            yield host, endpoint(LOOPBACK, host.port)
    for host in (*own, *others):
        yield host, endpoint(host.address, host.port)


def _key(keys: Keys, host: str) -> str | None:
    try:
        return keys.peer(host)
    except StartError:
        return None
