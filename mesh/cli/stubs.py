"""`mesh stubs`: typed peers of the services there are, so that a type checker knows what may be asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesh.agent import compile_agent
from mesh.cli.hosts import did_you_mean, homes
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, note, say
from mesh.cli.stubtext import MARK, client_name, module_of
from mesh.errors import MeshError, StartError, UnknownService, UsageError
from mesh.supervisor.cell.loader import load_agent_class

OUT = "agents/clients"

Offers = dict[str, Mapping[str, Any]]


def stubs(scope: Scope, services: Sequence[str], out: Path | None, offline: bool) -> None:
    """Write a module per service into `out`, from the running mesh or, `offline`, from the agents' files."""
    folder = scope.root() / OUT if out is None else out
    offers = _loaded(scope, services) if offline else asyncio.run(_asked(scope, services))
    written = {service: _written(folder, service, offer) for service, offer in sorted(offers.items())}
    if scope.json:
        rows = [{"service": service, "file": str(folder / f"{service}.py"), "class": client_name(service),
                 "changed": changed} for service, changed in written.items()]
        document({"folder": str(folder), "written": rows})
        return
    for service, changed in written.items():
        say(clean(f"{folder / service}.py: {client_name(service)}{'' if changed else ', as it was'}"))
    if written:
        first = next(iter(written))
        say(clean(f"in an agent: from agents_{folder.name}.{first} import {client_name(first)}, "
                  f"then self.peer({client_name(first)})"))
    else:
        say("no service to write a peer of")


async def _asked(scope: Scope, services: Sequence[str]) -> Offers:
    """Return what the running mesh says of the services, or of all; one that offers nothing now is left out."""
    offers: Offers = {}
    async with connected(scope) as operator:
        directory = await operator.directory()
        for service in services or sorted({row["service"] for row in directory["instances"]}):
            answers = await operator.ask_each("supervisor.describe", homes(operator.config, directory, service),
                                              {"service": service})
            told = [answer for answer in answers.values() if not isinstance(answer, MeshError)]
            if any(answer["operations"] for answer in told):
                offers[service] = max(told, key=lambda answer: len(answer["operations"]))
            elif services or not told:
                note(f"{service} offers nothing now: {next(iter(answers.values()))}" if not told else
                     f"{service} is {told[0]['state']} and offers nothing now; start it, or write with --offline")
    return offers


def _loaded(scope: Scope, services: Sequence[str]) -> Offers:
    """Return what the agents' own files offer; raises `LoadError` for one that does not load."""
    agents = scope.config().agents
    for service in services:
        if service not in agents:
            raise UnknownService(f"no file configures a service {service}{did_you_mean(service, agents)}")
    return {service: compile_agent(load_agent_class(agents[service])).describe() for service in services or agents}


def _written(folder: Path, service: str, offer: Mapping[str, Any]) -> bool:
    """Write one module; returns whether that changed anything. Nothing that a person wrote is overwritten."""
    file, text = folder / f"{service}.py", module_of(service, offer["purpose"], offer["operations"])
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else None
        if before is not None and MARK not in before:
            raise UsageError(f"{file} was not written by `mesh stubs`; name another folder with --out")
        if before != text:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"{file} cannot be written: {error.strerror or error}") from None
    return before != text
