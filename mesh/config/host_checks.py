"""Checks of the hosts against each other: names, addresses, ports, keys, and where the registry runs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from mesh.address import NAME, is_loopback
from mesh.config.draft import Draft
from mesh.config.findings import Finding, found
from mesh.config.source import KeyPath
from mesh.config.validation import alike, dotted

NAME_RULE = "small letters, digits and _, a letter first, at most 63"

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\Z")
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")


def check_hosts(draft: Draft) -> Iterator[Finding]:
    """Yield what is wrong between the keys of `config/hosts.yaml`."""
    if not draft.project.hosts.readable:
        return
    yield from _names(draft)
    yield from _registry(draft)
    yield from _addresses(draft)
    yield from _ports(draft)
    yield from _keys(draft)


def _names(draft: Draft) -> Iterator[Finding]:
    config = draft.config
    if config.mesh and not NAME.match(config.mesh):
        yield found(draft.hosts.place(("mesh",)), "bad_name", f"`{config.mesh}` cannot name a mesh", NAME_RULE)
    for name in config.hosts:
        if not NAME.match(name):
            yield found(draft.hosts.place(("hosts", name)), "bad_name", f"`{name}` cannot name a host", NAME_RULE)


def _registry(draft: Draft) -> Iterator[Finding]:
    host, hosts = draft.config.registry.host, draft.config.hosts
    if host and hosts and host not in hosts:
        place = draft.hosts.place(("registry", "host"))
        message = f"`registry.host` names the unknown host `{host}`"
        yield found(place, "unknown_host", message, alike(host, tuple(hosts)))


def _addresses(draft: Draft) -> Iterator[Finding]:
    for name, host in draft.config.hosts.items():
        if not host.address:
            continue
        place = draft.hosts.place(("hosts", name, "address"))
        try:
            unspecified = ipaddress.ip_address(host.address).is_unspecified
        except ValueError:
            if not _HOST_NAME.match(host.address):
                hint = "write an IP address or a host name, without protocol and port"
                yield found(place, "invalid_value", f"`{host.address}` is not an address", hint)
            continue
        if unspecified:
            hint = "write the address at which other hosts reach this one"
            yield found(place, "invalid_value", f"nobody can connect to `{host.address}`", hint)


def _ports(draft: Draft) -> Iterator[Finding]:
    """Yield ports used twice on one address; port 0 (any free port, for tests) is never used twice."""
    first: dict[tuple[str, int], KeyPath] = {}
    for path, address, port in _used(draft):
        if not port or not address or draft.hosts.get(path) not in (None, port):
            continue  # the last: it took the default, since what is written there is wrong
        other = first.setdefault((_plain(address), port), path)
        if other != path:
            place, taken = draft.hosts.place(path), draft.hosts.place(other)
            message = f"port {port} on {address} is used twice: by {dotted(other)} and {dotted(path)}"
            yield found(place, "duplicate_port", message, f"the first is in {taken.origin}; choose another port")


def _used(draft: Draft) -> Iterator[tuple[KeyPath, str, int]]:
    config = draft.config
    if config.registry.host in config.hosts:
        address = config.hosts[config.registry.host].address
        yield ("registry", "port"), address, config.registry.port
        yield ("registry", "metrics_port"), address, config.registry.metrics_port
    for name, host in config.hosts.items():
        yield ("hosts", name, "port"), host.address, host.port
        yield ("hosts", name, "events_port"), host.address, host.events_port
        yield ("hosts", name, "metrics_port"), host.address, host.metrics_port


def _plain(address: str) -> str:
    """Return one spelling for addresses that are the same."""
    if address.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower()


def _keys(draft: Draft) -> Iterator[Finding]:
    config = draft.config
    if config.security == "none":
        place = draft.hosts.place(("security",))
        hint = "use it to measure on a network of your own"
        yield found(place, "security_none", "nothing is encrypted and nobody is checked", hint, "warning")
    for name, host in config.hosts.items():
        if host.key is not None and not _KEY.match(host.key):
            place = draft.hosts.place(("hosts", name, "key"))
            hint = "40 characters; `mesh keys show` on that machine prints the line to paste"
            yield found(place, "invalid_value", f"`hosts.{name}.key` is no key", hint)
        if host.key is None and config.security == "curve" and host.address and _is_far(draft, name):
            hint = "`mesh keys show` on that machine prints the line to paste; until then others refuse it"
            message = f"the public key of {name} ({host.address}) is not known"
            yield found(draft.hosts.place(("hosts", name)), "no_peer_key", message, hint, "note")


def _is_far(draft: Draft, name: str) -> bool:
    """Tell whether some other host must reach `name` over a network."""
    hosts = draft.config.hosts
    address = hosts[name].address
    return not is_loopback(address) and any(_plain(host.address) != _plain(address) for host in hosts.values())
