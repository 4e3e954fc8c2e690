"""`mesh keys show`: the public keys of this machine's hosts, as the lines other machines need in hosts.yaml."""

from __future__ import annotations

from mesh.address import is_own
from mesh.cli.candidates import OPERATOR
from mesh.cli.hosts import checked
from mesh.cli.scope import Scope
from mesh.cli.screen import coloured, document, say
from mesh.config import HostConfig, MeshConfig
from mesh.transport.keys import ensure_key, fingerprint, key_folder


def show(scope: Scope, host: str | None) -> None:
    """Print the key of each host of this machine, or of one; makes the pair if there is none yet."""
    config = scope.config()
    hosts = _hosts(config, host)
    keys = {each.name: ensure_key(key_folder(config), each.name).public for each in hosts}
    operator = ensure_key(key_folder(config), OPERATOR).public
    if scope.json:
        document([
            *({"name": each.name, "kind": "host", "key": keys[each.name], "fingerprint": fingerprint(keys[each.name]),
               "address": each.address, "line": _line(each, keys[each.name])} for each in hosts),
            {"name": OPERATOR, "kind": "operator", "key": operator, "fingerprint": fingerprint(operator)},
        ])
        return
    say(coloured("# the public keys of this machine; paste on the others under hosts: in config/hosts.yaml", "dim"))
    for each in hosts:
        say(f"  {_line(each, keys[each.name])}")
    if not hosts:
        say("  no host of config/hosts.yaml has an address of this machine; name one with --host")
    say(coloured(f"# fingerprints: {', '.join(f'{name} {fingerprint(key)}' for name, key in keys.items())}"
                 f"{', ' if keys else ''}operator {fingerprint(operator)}", "dim"))


def _hosts(config: MeshConfig, host: str | None) -> list[HostConfig]:
    if host is not None:
        return [config.hosts[checked(host, list(config.hosts))]]
    return [each for each in config.hosts.values() if is_own(each.address)]


def _line(host: HostConfig, key: str) -> str:
    return (f"{host.name}: {{address: {host.address}, port: {host.port}, events_port: {host.events_port}, "
            f'metrics_port: {host.metrics_port}, key: "{key}"}}')
