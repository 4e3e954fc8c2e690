"""Who is there on a host: its cells by the name of the instance and by service, and which of them answers a request.

A service has a cell for each of its instances, numbered from 1: the first is called `nlu`, the second `nlu#2`.
"""

from __future__ import annotations

from mesh.address import split_instance
from mesh.message import Request
from mesh.supervisor.cell.cell import Cell


class Roster:
    """The cells of one host; `by_name` is for looking only, `add` and `remove` change it."""

    def __init__(self) -> None:
        self.by_name: dict[str, Cell] = {}
        self._of: dict[str, tuple[Cell, ...]] = {}
        self._turn = 0

    def add(self, cell: Cell) -> None:
        """Put a cell on the list."""
        self.by_name[cell.name] = cell
        self._keep(cell.service, [*(one for one in self.of(cell.service) if one.number != cell.number), cell])

    def remove(self, cell: Cell) -> None:
        """Strike a cell off the list."""
        if self.by_name.pop(cell.name, None) is not None:
            self._keep(cell.service, [one for one in self.of(cell.service) if one.name != cell.name])

    def _keep(self, service: str, cells: list[Cell]) -> None:
        if cells:
            self._of[service] = tuple(sorted(cells, key=lambda cell: cell.number))
        else:
            self._of.pop(service, None)

    def services(self) -> list[str]:
        """Return the services that have a cell, in the order in which they came."""
        return list(dict.fromkeys(cell.service for cell in self.by_name.values()))

    def of(self, service: str) -> tuple[Cell, ...]:
        """Return the cells of a service by number; none if it does not run here."""
        return self._of.get(service, ())

    def named(self, name: str) -> tuple[Cell, ...]:
        """Return all cells of a service for `nlu`, the one of an instance for `nlu#2`; none if there is none.

        Raises `InvalidArgument` for a name that is neither.
        """
        service, number = split_instance(name)
        return tuple(cell for cell in self.of(service) if number in (None, cell.number))

    def answering(self, request: Request) -> Cell | None:
        """Return the cell that answers a request: the instance it names, else the one with the least to do.

        One that does not serve is taken only if none does: who sent the call here may not have heard of that yet.
        None if no cell of the service is here.
        """
        cells = self._of.get(request.service)
        if cells is None:
            return None
        if len(cells) == 1:
            return cells[0]
        _, _, number = (request.to_host or "").partition("#")
        wanted = next((cell for cell in cells if number == str(cell.number)), None)
        if wanted is not None and wanted.state.serving:
            return wanted
        self._turn += 1
        at = self._turn % len(cells)  # those with equally little to do have their turn one after another
        serving = [cell for cell in (*cells[at:], *cells[:at]) if cell.state.serving]
        if serving:
            return min(serving, key=_outstanding)
        return wanted or next((cell for cell in cells if cell.state == "starting"), cells[0])


def _outstanding(cell: Cell) -> int:
    return cell.inbox.running + len(cell.inbox)
