"""Key pairs of hosts and operators: made at first start, kept in `.mesh/keys`, never printed.

A key proves which host a peer is. Hosts of one machine find each other's keys in the folder; the public keys of other
machines are pasted into config/hosts.yaml. Key pairs are made before the first socket, as libzmq wants it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import string
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from mesh.address import is_loopback
from mesh.config import HostConfig, MeshConfig
from mesh.errors import ConfigError, StartError

OPERATOR = "operator"
KEY_LENGTH = 40
_ALPHABET = frozenset(string.digits + string.ascii_letters + ".-:+=^!/*?&<>()[]{}@%$#")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, both halves as 40 characters of Z85; the secret never shows in a repr."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """What one process knows: its own pair, the public key of each host, and whom it lets in.

    `allow` maps a public key (40 bytes of Z85) to the name it stands for, a host or `operator`; `sources` says for each
    host where its key was found.
    """

    own: KeyPair
    peers: Mapping[str, str]
    allow: Mapping[bytes, str]
    sources: Mapping[str, str] = field(default_factory=dict)

    def peer(self, host: str) -> str:
        """Return the public key of `host`; raises `StartError` with the command that shows it."""
        key = self.peers.get(host)
        if key is None:
            raise StartError(
                f"the key of host {host} is not known here, so it cannot be trusted; run `mesh keys show` on {host} "
                f"and paste the line under hosts: {host}: in config/hosts.yaml"
            )
        return key


def is_key(text: str) -> bool:
    """Tell whether `text` is a CURVE key in Z85: 40 characters of its alphabet, each five of them 32 bits."""
    if len(text) != KEY_LENGTH or not _ALPHABET.issuperset(text):
        return False
    try:
        z85.decode(text.encode())
    except (ValueError, struct.error):  # five characters can spell more than 32 bits
        return False
    return True


def fingerprint(public: str) -> str:
    """Return a short readable name of a public key, such as `0f3a-91c2-77de-b004`."""
    digest = hashlib.sha256(public.encode()).hexdigest()
    return "-".join(digest[at:at + 4] for at in range(0, 16, 4))


def key_folder(config: MeshConfig) -> Path:
    """Return the folder of this machine's key files."""
    return config.home / "keys"


def ensure_for(config: MeshConfig, name: str) -> Keys:
    """Return the keys for host `name` (or `operator`) and make the pairs this machine lacks.

    Made are the pair of `name`, of every host on loopback, and of the operator. A loopback host's key is always the
    file's; elsewhere `key:` in hosts.yaml comes before a file. Raises `StartError` for folder and files that cannot be
    used and for an own key other than the one the others are told, `ConfigError` for a `key:` that is none.
    """
    folder = key_folder(config)
    own = ensure_key(folder, name)
    operator = ensure_key(folder, OPERATOR)
    peers: dict[str, str] = {}
    sources: dict[str, str] = {}
    for host, where in config.hosts.items():
        found = _known_key(folder, host, where, name, own)
        if found is not None:
            peers[host], sources[host] = found
    return Keys(own, peers, _allow_list({**peers, OPERATOR: operator.public}), sources)


def ensure_key(folder: Path, name: str) -> KeyPair:
    """Return the pair in `<name>.key` and make it if there is none; all processes end with the same pair.

    Raises `StartError` if the folder cannot be written, others may read it, or the file is damaged.
    """
    path = folder / f"{name}.key"
    _ensure_folder(folder)
    pair = _read(path)
    if pair is None:
        _create(path)
        pair = _read(path)
    if pair is None:
        raise StartError(f"{path} disappeared while it was being made; start again")
    return pair


def read_key(folder: Path, name: str) -> KeyPair | None:
    """Return the pair in `<name>.key`, None if there is no such file; raises `StartError` like `ensure_key`."""
    return _read(folder / f"{name}.key")


def _known_key(folder: Path, host: str, where: HostConfig, name: str, own: KeyPair) -> tuple[str, str] | None:
    """Return a host's public key and where it was found, None if it is not known on this machine."""
    path = folder / f"{host}.key"
    if where.key is not None and not is_key(where.key):
        raise ConfigError(
            f"config/hosts.yaml: key: of host {host} is {len(where.key)} characters that are no public key (40 "
            f"characters of Z85, in quotes); run `mesh keys show` on {host} and paste its line"
        )
    if is_loopback(where.address):
        return (own if host == name else ensure_key(folder, host)).public, str(path)
    if host == name:
        if where.key is not None and where.key != own.public:
            raise StartError(
                f"config/hosts.yaml gives host {host} the key {fingerprint(where.key)}, but {path} holds "
                f"{fingerprint(own.public)}: the other hosts would refuse this one; paste the line that "
                "`mesh keys show` prints here, or bring the old key file back"
            )
        return own.public, str(path)
    if where.key is not None:
        return where.key, "config/hosts.yaml"
    local = _read(path)
    return None if local is None else (local.public, str(path))


def _allow_list(publics: Mapping[str, str]) -> dict[bytes, str]:
    allow: dict[bytes, str] = {}
    for name, public in publics.items():
        known = allow.setdefault(public.encode(), name)
        if known != name:
            raise ConfigError(
                f"config/hosts.yaml: {known} and {name} have the same key {fingerprint(public)}; a key stands for one "
                f"host, run `mesh keys show` on each and paste both lines"
            )
    return allow


def _ensure_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_loose(folder, "700")
    except OSError as error:
        raise StartError(
            f"the key folder {folder} cannot be made: {_reason(error)}; make it writable for this user, or set "
            "MESH_HOME to a folder that is"
        ) from None


def _create(path: Path) -> None:
    """Put a new pair at `path` in one step; another process that was faster wins."""
    public, secret = zmq.curve_keypair()
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # O_EXCL and 0600
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"public {public.decode()}\nsecret {secret.decode()}\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike a rename this never replaces, and the file appears whole
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(
            f"the key file {path} cannot be made: {_reason(error)}; make {path.parent} writable for this user, or set "
            "MESH_HOME to a folder that is"
        ) from None


def _read(path: Path) -> KeyPair | None:
    try:
        _refuse_loose(path, "600")
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the key file {path} cannot be read: {_reason(error)}") from None
    lines = text.splitlines()
    if len(lines) == 2 and lines[0].startswith("public ") and lines[1].startswith("secret "):
        pair = KeyPair(lines[0][7:], lines[1][7:])
        if is_key(pair.secret) and zmq.curve_public(pair.secret.encode()) == pair.public.encode():
            return pair
    raise StartError(
        f"the key file {path} is damaged; bring it back from a copy, or delete it: a new key is made at the next "
        "start and must then be pasted into config/hosts.yaml on the other machines"
    )


def _refuse_loose(path: Path, mode: str) -> None:
    """Raise `StartError` if others than the owner have any right to `path`; Windows keeps rights elsewhere."""
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StartError(
            f"{path} holds secret keys and is open to other users ({stat.S_IMODE(path.stat().st_mode):04o}); "
            f"run: chmod {mode} {path}"
        )


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"
