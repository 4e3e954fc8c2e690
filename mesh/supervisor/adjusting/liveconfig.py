"""Configuration changed by operators while the mesh runs: what is in force and why, and a change from check to outcome.

A change is checked by every host that runs the service before the registry keeps it; then each host brings its cell to
it, and when one of them refuses, the registry is given back what it kept before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.address import nearest
from mesh.client import Client
from mesh.clock import Clock
from mesh.config import INSTANCES, apply_overrides, config_key, override_key
from mesh.directory import Directory
from mesh.errors import ConfigError, InvalidArgument, LoadError, MeshError
from mesh.supervisor.adjusting.settingrows import policy_rows, setting_rows, unknown_name
from mesh.supervisor.bell import Bell
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cells import Cells

NEWS_LIMIT = 5.0
CHECK_LIMIT = 10.0
OUTCOME_LIMIT = 25.0
LOOK = 0.2

Row = dict[str, Any]


class _Unset:
    """Stands for no override in a change."""


UNSET = _Unset()


class LiveConfig:
    """The changeable configuration of a host's agents."""

    def __init__(
        self, name: str, cells: Cells, directory: Directory, client: Client, bell: Bell, clock: Clock
    ) -> None:
        self._name = name
        self._cells = cells
        self._directory = directory
        self._client = client
        self._bell = bell
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changes: set[asyncio.Task[Row]] = set()

    # -- what is

    def describe(self, cell: Cell) -> Row:
        """Return every value in force of an agent with where it came from, and the schema of its settings."""
        filed = self._cells.filed(cell.service)
        schema = cell.offer.config()
        rows = setting_rows(cell.spec, filed, cell.settings(), schema)
        rows += policy_rows(cell.spec, filed, self._cells.rules.of(cell.service, ""), self._cells.mesh_wide)
        return {"service": cell.service, "host": self._name, "schema": dict(schema), "values": rows}

    async def check(self, cell: Cell, key: str, value: Any) -> None:
        """Raise `InvalidArgument` for a change that the agent's `Config`, or the cell, does not take."""
        changed = self._with(cell.service, key, value)
        section, *path = config_key(key).split(".")
        unknown = unknown_name(cell.offer.config(), path) if section == "settings" and value is not UNSET else None
        if unknown is not None and len(path) > 1:  # a section may let names pass that it does not know
            like = nearest(unknown[0], unknown[1])
            hint = f"did you mean '{like}'?" if like else f"known are: {', '.join(unknown[1])}"
            raise InvalidArgument(f"{cell.service}: there is no setting '{key}', {hint}", path=key)
        try:
            await cell.accept(apply_overrides(self._cells.filed(cell.service), changed))
        except ConfigError as error:
            raise InvalidArgument(error.message, path=key) from None
        except LoadError as error:
            raise InvalidArgument(f"{cell.service} cannot be loaded, so nothing of it can be checked: {error.message}",
                                  path=key) from None

    def _with(self, service: str, key: str, value: Any) -> dict[str, Any]:
        """Return the overrides of a service with one changed."""
        others = {known: kept for known, kept in self._cells.overrides(service).items()
                  if config_key(known) != config_key(key)}
        return others if value is UNSET else {**others, override_key(key): value}

    # -- a change

    async def change(self, service: str, key: str, value: Any) -> Row:
        """Set a key (`UNSET`: no longer) on every host that runs the service; returns what came of it.

        It is done to its end even if the caller gives up. Raises `InvalidArgument` if the value is not taken and the
        registry's error if it cannot keep it; nothing has changed then.
        """
        task = asyncio.get_running_loop().create_task(self._changed(service, override_key(key), value))
        self._changes.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    async def scale(self, cell: Cell, count: int, host: str | None) -> Row:
        """Have `count` instances of a service on each of its hosts, or on one of them; returns what came of it.

        `instances` maps the hosts to what they have from now on. Raises `InvalidArgument` for a host that does not run
        it, and otherwise as `change` does.
        """
        spec = self._cells.in_force(cell.service)
        if host is not None and host not in spec.hosts:
            raise InvalidArgument(f"{cell.service} does not run on {host}, but on {', '.join(spec.hosts)}", path="host")
        wanted = {name: count if host in (None, name) else spec.count(name) for name in spec.hosts}
        return {**await self.change(cell.service, INSTANCES, wanted), "instances": wanted}

    def close(self) -> None:
        """Break off what is being changed: the host stops."""
        for task in self._changes:
            task.cancel()

    def _over(self, task: asyncio.Task[Row]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone

    async def _changed(self, service: str, key: str, value: Any) -> Row:
        async with self._turn:
            hosts = self._homes(service)
            before = self._cells.overrides(service).get(key, UNSET)
            checks = await self._ask_each("config_check", hosts, self._arguments(service, key, value), CHECK_LIMIT)
            refusal = next((one for one in checks.values() if isinstance(one, InvalidArgument)), None)
            if refusal is not None:
                raise refusal
            if repr(before) == repr(value):
                outcomes = [{"service": service, "host": host, "how": "unchanged", "state": None, "reason": ""}
                            for host in hosts]
            else:
                outcomes = await self._kept(service, key, value, hosts)
            refused = [row for row in outcomes if row["how"] == "refused"]
            if refused:
                await self._kept(service, key, before, hosts)
            return {"service": service, "key": key, "value": None if value is UNSET else value,
                    "unset": value is UNSET, "ok": not refused, "rolled_back": bool(refused), "hosts": outcomes}

    async def _kept(self, service: str, key: str, value: Any, hosts: Iterable[str]) -> list[Row]:
        """Have the registry keep a value, and every host follow; returns what each did."""
        operation = "unset_override" if value is UNSET else "set_override"
        arguments = {"service": service, "key": key, **({} if value is UNSET else {"value": value})}
        kept = await self._client.request(f"registry.{operation}", arguments, NEWS_LIMIT)
        asked = {"service": service, "epoch": kept["epoch"], "revision": kept["revision"]}
        answers = await self._ask_each("config_adjusted", hosts, asked, OUTCOME_LIMIT)
        return [answer if isinstance(answer, dict) else
                {"service": service, "host": host, "how": "later", "state": None,
                 "reason": f"{host} takes it when it is back: {answer}"} for host, answer in answers.items()]

    def _arguments(self, service: str, key: str, value: Any) -> Row:
        return {"service": service, "key": key, "unset": value is UNSET, "value": None if value is UNSET else value}

    def _homes(self, service: str) -> list[str]:
        running = [row.host for row in self._directory.instances(service)]
        return list(dict.fromkeys([*running, *self._cells.filed(service).hosts]))

    async def _ask_each(self, operation: str, hosts: Iterable[str], arguments: Row, limit: float
                        ) -> dict[str, Any]:
        async def ask(host: str) -> Any:
            try:
                return await self._client.request(f"supervisor.{operation}", arguments, limit, to_host=host)
            except MeshError as error:
                return error

        asked = list(hosts)
        return dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))

    async def adjusted(self, cell: Cell, epoch: int, revision: int) -> Mapping[str, Any]:
        """Return what became of a cell once this host knows the registry's table up to a revision."""
        until = self._clock.monotonic() + NEWS_LIMIT
        while self._directory.position < (epoch, revision) and (left := until - self._clock.monotonic()) > 0:
            await self._bell.wait(min(left, LOOK))
        done = await self._cells.adjustments.adjust(cell.service, (epoch, revision))
        return {"service": cell.service, "host": self._name, "how": done.how, "state": cell.state.value,
                "reason": done.reason}
