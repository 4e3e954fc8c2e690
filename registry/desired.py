"""What operators want: which service is to run or to stay stopped on which host.

Who says nothing wants it running. What an operator stopped stays stopped, whatever happens to hosts and registry,
so this is stored before it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from mesh.address import NAME, split_instance
from mesh.errors import InvalidArgument
from mesh.records import DESIRED_STATES, DesiredState
from registry.changes import DesiredChange


class Desired:
    """The desired state of every (service, host) an operator ever spoke about."""

    def __init__(self, stored: Iterable[DesiredChange] = ()) -> None:
        self._rows = {(row.service, row.host): row for row in stored}

    def change(self, service: str, host: str, desired: str) -> DesiredChange | None:
        """Return what setting this would change, None if it is so already; raises `InvalidArgument`.

        `service` may be one instance as `nlu#2`.
        """
        for path, name in (("service", split_instance(service)[0]), ("host", host)):
            if not NAME.match(name):
                raise InvalidArgument(
                    f"{path} is {name!r}, which is no name: lower-case letters, digits and _, first a letter", path=path
                )
        if desired not in DESIRED_STATES:
            raise InvalidArgument(f"desired is {desired!r}, expected {' or '.join(DESIRED_STATES)}", path="desired")
        row = DesiredChange(service, host, cast(DesiredState, desired))
        return None if self._rows.get((service, host)) == row else row

    def take(self, change: DesiredChange) -> None:
        """Let a change count."""
        self._rows[change.service, change.host] = change

    def of(self, host: str) -> dict[str, str]:
        """Return the desired state of the services of one host that an operator spoke about."""
        return {row.service: row.desired for row in self._rows.values() if row.host == host}

    def rows(self) -> list[DesiredChange]:
        """Return every row."""
        return list(self._rows.values())
