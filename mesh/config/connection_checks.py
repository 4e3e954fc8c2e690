"""Checks of what lies outside the mesh: the Redis server, HTTP servers, and who needs them; and of model budgets.

An address is never quoted as a whole, since a password may stand in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from mesh.address import NAME
from mesh.config.draft import Draft
from mesh.config.findings import Finding, found
from mesh.config.source import KeyPath

_REDIS = ("connections", "redis")
_HTTP = ("connections", "http")


def check_connections(draft: Draft) -> Iterator[Finding]:
    """Yield what is wrong in `connections`, with who is to use it, and in `budget`."""
    if not draft.project.hosts.readable:
        return
    yield from _redis(draft)
    yield from _users_of_redis(draft)
    yield from _targets(draft)
    yield from _private(draft)
    yield from _devices(draft)


def _redis(draft: Draft) -> Iterator[Finding]:
    redis = draft.config.connections.redis
    if redis is None:
        return
    path: KeyPath = (*_REDIS, "url")
    if not redis.url:
        hint = "write redis://HOST:6379/0"
        yield found(draft.hosts.place(_REDIS), "missing_key", "`connections.redis.url` is missing", hint)
        return
    if told := _wrong(redis.url, ("redis", "rediss"), "password_env"):
        yield found(draft.hosts.place(path), "invalid_value", f"`connections.redis.url` {told[0]}", told[1])


def _users_of_redis(draft: Draft) -> Iterator[Finding]:
    if draft.config.connections.redis is not None:
        return
    for name, store in (("registry", draft.config.registry.store), ("state", draft.config.state.store)):
        if store == "redis":
            hint = "add `connections: {redis: {url: \"redis://HOST:6379/0\"}}`"
            message = f"`{name}.store` is `redis`, and no Redis is named"
            yield found(draft.hosts.place((name, "store")), "missing_key", message, hint)


def _targets(draft: Draft) -> Iterator[Finding]:
    for name, target in draft.config.connections.http.targets.items():
        path: KeyPath = (*_HTTP, "targets", name)
        where = f"`connections.http.targets.{name}"
        if not NAME.match(name):
            yield found(draft.hosts.place(path), "bad_name", f"`{name}` cannot name a target",
                        "small letters, digits and _, a letter first")
        if not target.url:
            yield found(draft.hosts.place(path), "missing_key", f"{where}.url` is missing", "write https://HOST/PATH")
        elif told := _wrong(target.url, ("http", "https"), "token_env"):
            yield found(draft.hosts.place((*path, "url")), "invalid_value", f"{where}.url` {told[0]}", told[1])
        if target.check is not None and not target.check.startswith("/"):
            yield found(draft.hosts.place((*path, "check")), "invalid_value", f"{where}.check` is no path",
                        "write it with a slash first, as /health")


def _wrong(url: str, schemes: tuple[str, ...], secret: str) -> tuple[str, str] | None:
    """Return what is wrong with an address and what to do, None when nothing is."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        return "is no address", f"write {schemes[0]}://HOST:PORT"
    if parts.username or parts.password:
        return "holds a user or password", f"name the environment variable that holds the secret in `{secret}`"
    if not usable:
        return f"is no address that begins with {' or '.join(f'{one}://' for one in schemes)}", \
            f"write {schemes[0]}://HOST:PORT"
    return None


def _private(draft: Draft) -> Iterator[Finding]:
    for index, network in enumerate(draft.config.connections.http.private):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            place = draft.hosts.place((*_HTTP, "private", index))
            yield found(place, "invalid_value", f"`{network}` is no network", "write it as 192.168.1.0/24")


def _devices(draft: Draft) -> Iterator[Finding]:
    for name, host in draft.config.hosts.items():
        for device, size in host.budget.devices.items():
            place = draft.hosts.place(("hosts", name, "budget", "devices", device))
            if device == "cpu":
                hint = "write `memory_mb` of the budget instead"
                yield found(place, "invalid_value", "the memory of `cpu` is that of the host", hint)
            elif size <= 0:
                yield found(place, "invalid_value", f"`{device}` must have more than 0 MiB, found {size:g}",
                            "leave a device out that models may not use")
