"""Checks of the groups: who is in them, and where."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.address import NAME
from mesh.config.draft import Draft
from mesh.config.findings import Finding, found
from mesh.config.host_checks import NAME_RULE
from mesh.config.validation import alike


def check_restart_groups(draft: Draft) -> Iterator[Finding]:
    """Yield what is wrong with `restart_groups` of config/hosts.yaml."""
    agents, place = draft.config.agents, draft.hosts.place
    taken: dict[str, str] = {}
    for name, group in draft.config.restart_groups.items():
        at = ("restart_groups", name)
        if not NAME.match(name):
            yield found(place(at), "bad_name", f"`{name}` cannot name a restart group", NAME_RULE)
        for index, service in enumerate(group.agents):
            here = place((*at, "agents", index))
            if not service:
                continue  # it is said already that this is no name
            if service not in agents:
                message = f"the restart group `{name}` has `{service}`, which no file configures"
                yield found(here, "unknown_member", message, alike(service, tuple(agents)))
            elif service in taken:
                message = f"`{service}` is in the restart group `{taken[service]}` and in `{name}`"
                yield found(here, "double_member", message, "leave it in one of them")
            taken.setdefault(service, name)
        hosts = {host for service in group.agents if service in agents for host in agents[service].hosts}
        if len(hosts) > 1 and group.strategy != "one_for_one":
            message = f"the restart group `{name}` lies on {' and '.join(sorted(hosts))}"
            hint = "each host restarts its own members together, and no others"
            yield found(place(at), "scattered_group", message, hint, "note")
