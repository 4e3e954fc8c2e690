"""Under which key an answer is kept: two calls have the same one exactly if they ask the same of the same code.

The order of the arguments does not matter, absent ones are not filled in with their defaults, and one of a kind that
does not compare byte by byte (1 and 1.0, the inner order of a map) is another question: that costs a call, never a
wrong answer.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, cast

import msgpack

LONGEST = 200
"""Bytes of a key that is kept as it is; of a longer one 20 bytes of its hash."""

_pack = msgpack.Packer(autoreset=True).pack
"""One for all, since keys are made on the host's loop alone: a new one for each key costs twice as much."""

_HASHED = b"\xff"
"""No key that is kept as it is begins so: it begins with the name of a service."""


def prefix_of(target: str, version: str) -> bytes:
    """Return what the keys of one operation begin with; `version` stands for the schemas of whoever answers."""
    return f"{target}\0{version}\0".encode()


def key_of(prefix: bytes, place: str | None, body: bytes, names: tuple[str, ...] | None = None) -> bytes | None:
    """Return the key of encoded arguments, None for a body that is no map of arguments.

    `place` is the host or instance that alone may answer; with `names` only these arguments count.
    """
    try:
        arguments: Any = msgpack.unpackb(body)
        if type(arguments) is not dict:
            return None
        packed = _only(arguments, names) if names is not None else _ordered(arguments, body)
    except Exception:  # msgpack raises ValueError, its own and unicode errors alike; the callee says what is wrong
        return None
    key = prefix + place.encode() + b"\0" + packed if place else prefix + b"\0" + packed
    return key if len(key) <= LONGEST else _HASHED + blake2b(key, digest_size=20).digest()


def _ordered(arguments: dict[str, Any], body: bytes) -> bytes:
    if len(arguments) < 2:
        return body
    names = list(arguments)
    ordered = sorted(names)
    return body if names == ordered else cast(bytes, _pack({name: arguments[name] for name in ordered}))


def _only(arguments: dict[str, Any], names: tuple[str, ...]) -> bytes:
    return cast(bytes, _pack({name: arguments[name] for name in names if name in arguments}))
