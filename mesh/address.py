"""Names and endpoints: what a service, an operation and a host may be called, and where sockets are found."""

from __future__ import annotations

import difflib
import ipaddress
import re
import socket
from collections.abc import Iterable

from mesh.errors import InvalidArgument

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
VERSIONED = re.compile(r"[a-z][a-z0-9_]{0,62}(:[a-z0-9_]{1,32})?\Z")
RESERVED = frozenset({"supervisor", "registry", "operator", "mesh"})


def split_target(target: str) -> tuple[str, str]:
    """Return service and operation of `service.operation`; raises `InvalidArgument` for any other shape."""
    service, dot, operation = target.partition(".")
    if not dot or not VERSIONED.match(service) or not NAME.match(operation):
        raise InvalidArgument(
            f"{target!r} does not name an operation; write service.operation, such as knowledge_base.search_facts",
            path="target",
        )
    return service, operation


def instance_name(service: str, number: int) -> str:
    """Return what an instance of a service is called on its host: the first as the service, the second `nlu#2`."""
    return service if number == 1 else f"{service}#{number}"


def split_instance(name: str) -> tuple[str, int | None]:
    """Return service and number of an instance's name as `nlu#2`; without a number all of the service are meant.

    Raises `InvalidArgument` if what is behind the `#` is no number.
    """
    service, mark, number = name.partition("#")
    if not mark:
        return service, None
    if not number.isascii() or not number.isdigit() or not int(number):
        raise InvalidArgument(f"{name!r} names no instance; write nlu for all of a service, nlu#2 for one of them",
                              path="service")
    return service, int(number)


def split_version(service: str) -> tuple[str, str]:
    """Return service and version of a service's name: `nlu` and `v2` for `nlu:v2`, without a version an empty one."""
    base, _, version = service.partition(":")
    return base, version


def version_name(service: str, version: str) -> str:
    """Return what a version of a service beside it is called, as `nlu:v2`; raises `InvalidArgument` for no name."""
    name = f"{service}:{version}"
    if not version or not VERSIONED.match(name):
        raise InvalidArgument(
            f"{version!r} cannot name a version of {service}; take small letters, digits and _, as v2", path="version"
        )
    return name


def endpoint(address: str, port: int) -> str:
    """Return the ZeroMQ endpoint of a TCP address."""
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"


def is_loopback(address: str) -> bool:
    """Tell whether `address` can only be reached from its own machine."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None if none is alike."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def is_own(address: str) -> bool:
    """Tell whether `address` is one of this machine, by binding to it."""
    if is_loopback(address):
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
