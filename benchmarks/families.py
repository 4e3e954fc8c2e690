"""The families of benchmarks: each a module with a function `rows(effort)` that yields rows and curves.

A new family is a module and its line here; what it starts it ends, also when it fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module

from benchmarks.effort import Effort
from benchmarks.row import Curve, Row

FAMILIES: Mapping[str, tuple[str, str]] = {
    "calls": ("benchmarks.remote", "a call from host to host, with uvloop and with asyncio, and alone on pinned cores"),
    "local": ("benchmarks.local", "a call inside one host, between two coroutines"),
    "process": ("benchmarks.cells", "a call to an agent in a process of its own, on this host and on another"),
    "curve": ("benchmarks.curve", "calls with CURVE, against calls without"),
    "tracing": ("benchmarks.tracing", "calls of which 1 % are sampled for traces, and all, against none"),
    "policies": ("benchmarks.idlepolicy", "what each policy costs that has nothing to do"),
    "outstanding": ("benchmarks.outstanding", "calls per second against calls outstanding, for the plot"),
    "load": ("benchmarks.load", "latency against calls offered per second, for the plot"),
    "streams": ("benchmarks.streams", "a stream of small items, and a call beside many streams"),
    "instances": ("benchmarks.instances", "two instances of a service against one, scaled under load"),
    "bodies": ("benchmarks.bodies", "bodies of 10 KiB to 64 MiB there and back, and small calls beside them on a link"),
    "events": ("benchmarks.events", "events to 1, 10 and 50 hosts, and to as many agents of the publisher's host"),
    "growth": ("benchmarks.growth", "calls with up to 1,000 services and 50 hosts; what hosts cost the registry"),
    "directory": ("benchmarks.directory", "a directory of 100,000 services: resolving, memory, joining, a change"),
    "footprint": ("benchmarks.footprint", "start, memory, sockets and processor of a mesh that nobody uses"),
}
"""By name: the module, and what it measures in a few words."""


def measured(name: str, effort: Effort) -> Iterator[Row | Curve]:
    """Yield what a family measures, each with its family's name."""
    for found in import_module(FAMILIES[name][0]).rows(effort):
        yield replace(found, family=name)
