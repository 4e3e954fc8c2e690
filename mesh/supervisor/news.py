"""What a host tells admins of others: hosts that died or came back, links that broke, servers that are away."""

from __future__ import annotations

import logging

from mesh.connections import Target
from mesh.directory import Directory
from mesh.policy.resolve import REGISTRY, SUPERVISOR
from mesh.records import HostRecord
from mesh.supervisor.errors.reporter import Reporter
from mesh.transport.link import LEFT

log = logging.getLogger("mesh.supervisor")


class News:
    """Tells of each change once; knows what was there before, so that nothing is lost that never was."""

    def __init__(self, host: str, directory: Directory, report: Reporter) -> None:
        self._host = host
        self._directory = directory
        self._report = report
        self._linked: set[str] = set()
        self._away: set[str] = set()

    def of_host(self, before: HostRecord | None, after: HostRecord | None) -> None:
        """Tell of a host that is dead or stuck, or is well again."""
        if after is None or after.name == self._host or (before is not None and before.state == after.state):
            return
        if after.state in ("dead", "stuck"):
            self._report(f"host {after.name} is {after.state}: {after.reason or 'no reason given'}",
                         severity="critical", service=SUPERVISOR, occasion="host_dead" if self._speaks() else None)
        elif before is not None and before.state in ("dead", "stuck", "leaving"):
            self._report(f"host {after.name} is {after.state} again", severity="info", service=SUPERVISOR)

    def _speaks(self) -> bool:
        """Tell whether it is this host that tells people of the death of another: one of all that are well does."""
        well = (row.name for row in self._directory.hosts() if row.state in ("ok", "busy"))
        return self._host == min([self._host, *well])

    def of_link(self, peer: str, up: bool, reason: str) -> None:
        """Tell of a link that was up and broke; what the peer ended itself is no news."""
        if up:
            self._linked.add(peer)
        elif peer in self._linked:
            self._linked.discard(peer)
            if peer != REGISTRY and reason != LEFT:
                self._report.trouble(f"link:{peer}", f"the link to {peer} is lost: {reason}")

    def of_registry(self, endpoint: str, up: bool, reason: str) -> None:
        """Tell of the registry that was found, or is lost."""
        if up:
            log.info("connected to the registry at %s", endpoint)
        else:
            self._report.trouble("registry", f"the registry at {endpoint} is lost ({reason}); known services stay "
                                             "callable")

    def of_server(self, target: Target) -> None:
        """Tell of a server outside the mesh that is away, or back."""
        if target.health.state == "down":
            self._away.add(target.name)
            self._report.trouble(f"connection:{target.name}", target.health.reason, severity="error")
        elif target.name in self._away:
            self._away.discard(target.name)
            self._report(f"{target.name} at {target.address} is well again", severity="info", service=SUPERVISOR)

    def of_lost_events(self, peer: str, count: int) -> None:
        """Tell of events that were too many at once."""
        self._report.trouble(f"lost_events:{peer}",
                             f"{count} events from {peer} were lost on the way: too many at once")

    def of_refused_key(self, address: str, key: str, reason: str) -> None:
        """Tell of a connection whose key is not welcome."""
        self._report.trouble("refused_key", f"a connection from {address} with key {key} was refused: {reason}")

    def of_refused_reader(self, address: str, key: str, reason: str) -> None:
        """Tell of a reader of events whose key is not welcome."""
        self._report.trouble("refused_reader", f"a reader from {address} ({key or 'no key'}) was refused: {reason}")
