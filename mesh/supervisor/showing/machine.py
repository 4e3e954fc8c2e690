"""What a machine gives a host: Python and packages, limits, disk, memory, keys; read when somebody asks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from mesh import __version__, wire
from mesh.config import MeshConfig
from mesh.config.revision import revision
from mesh.errors import MeshError
from mesh.transport.keys import KeyPair, fingerprint, key_folder, read_key

PACKAGES = ("pyzmq", "msgpack", "pydantic", "PyYAML", "redis", "psutil", "prometheus-client", "typer")
MEGABYTE = 2**20


def machine(config: MeshConfig, host: str) -> dict[str, Any]:
    """Return what `host` finds where this process runs; sizes in MiB."""
    memory = psutil.virtual_memory()
    return {
        "host": host, "name": platform.node(), "revision": revision(config.root), "root": str(config.root),
        "environment": config.environment, **installation(), **_descriptors(), **_disk(config.home),
        "memory_mb": round(memory.total / MEGABYTE), "memory_free_mb": round(memory.available / MEGABYTE),
        "keys": None if config.security == "none" else _keys(config, host),
    }


def installation() -> dict[str, Any]:
    """Return which Python runs this, and which versions of the mesh and of what it needs."""
    return {"python": platform.python_version(), "version": __version__, "protocol": wire.VERSION,
            "packages": {name: _installed(name) for name in PACKAGES}}


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _descriptors() -> dict[str, int | None]:
    """Return how many files this process may open, and how many it has open."""
    try:
        import resource  # not on Windows
    except ImportError:
        return {"descriptors": None, "descriptors_used": None}
    return {"descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "descriptors_used": psutil.Process().num_fds()}


def _disk(folder: Path) -> dict[str, Any]:
    """Return the room on the disk of a folder, which may not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    return {"disk_mb": round(usage.total / MEGABYTE), "disk_free_mb": round(usage.free / MEGABYTE),
            "folder": str(folder), "writable": os.access(there, os.W_OK)}


def _keys(config: MeshConfig, host: str) -> dict[str, Any]:
    """Return the fingerprint of the own key, of each other host's as known here, and what is wrong with the files."""
    folder, trouble = key_folder(config), []
    pairs: dict[str, KeyPair | None] = {}
    for name in config.hosts:
        try:
            pairs[name] = read_key(folder, name)
        except MeshError as error:
            pairs[name] = None
            trouble.append(error.message)
    if os.name == "posix" and folder.exists() and folder.stat().st_mode & 0o077:
        trouble.append(f"{folder} is open to other users; run: chmod 700 {folder}")
    known = {name: _pasted(config, name) or _fingerprint(pair) for name, pair in pairs.items() if name != host}
    return {"own": _fingerprint(pairs[host]), "written": _pasted(config, host), "known": known, "trouble": trouble}


def _pasted(config: MeshConfig, host: str) -> str | None:
    key = config.hosts[host].key
    return None if key is None else fingerprint(key)


def _fingerprint(pair: KeyPair | None) -> str | None:
    return None if pair is None else fingerprint(pair.public)
