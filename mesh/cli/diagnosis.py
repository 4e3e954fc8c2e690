"""The checks of `mesh doctor`: small functions in a list, each from the facts of a `Case` to verdicts.

A check asks nobody and waits for nothing, so it runs whatever is down; what is not known is None or an error in place
of the answer. `failed` means that the mesh cannot work as configured, `warning` that somebody should know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mesh.cli.hosts import away
from mesh.cli.status import mismatches
from mesh.config import Finding, MeshConfig
from mesh.errors import MeshError

Grade = Literal["ok", "warning", "failed"]
Row = dict[str, Any]
Check = Callable[["Case"], Iterator["Verdict"]]

GRADES: tuple[Grade, ...] = ("ok", "warning", "failed")
SKEW = 1.0
DESCRIPTORS = 1024
DISK_LOW, DISK_SPENT = 1024, 100
MEMORY_LOW = 512
RECENT = 300.0
SERVING = ("ready", "degraded")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found; `hosts` are whom it is about, `hint` what to do next."""

    check: str
    grade: Grade
    message: str
    hint: str = ""
    hosts: tuple[str, ...] = ()

    def row(self) -> Row:
        """Return it as `--json` has it."""
        return {"check": self.check, "verdict": self.grade, "message": self.message, "hint": self.hint or None,
                "hosts": list(self.hosts)}


@dataclass(frozen=True)
class Case:
    """The facts at hand.

    `config` is None if it has errors, which `findings` tell; `here` is this command's own installation. `machines` are
    the facts of this machine's own hosts, read here; `told` and `reach` are what each host says of its machine and of
    the others, `statuses`, `agents` and `errors` what the commands of these names ask for, all with a `MeshError` where
    it did not answer. `directory` is None if no host answers, for the reason in `silence`. `ports` are this machine's,
    `dialled` is what connects from here found.
    """

    findings: Sequence[Finding] = ()
    config: MeshConfig | None = None
    here: Row | None = None
    now: float = 0.0
    own: Sequence[str] = ()
    machines: Mapping[str, Row] = field(default_factory=dict)
    silence: str = ""
    directory: Row | None = None
    statuses: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    reach: Mapping[str, Any] = field(default_factory=dict)
    agents: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, Any] = field(default_factory=dict)
    engines: Sequence[tuple[str, str]] = ()
    ports: Sequence[Row] = ()
    dialled: Sequence[Row] = ()

    def answered(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answers that are one."""
        return {host: answer for host, answer in answers.items() if not isinstance(answer, MeshError)}

    def facts(self) -> dict[str, Row]:
        """Return the machine's facts of every host that is known: what it says itself before what is read here."""
        return {**self.machines, **self.answered(self.told)}


def diagnose(case: Case) -> list[Verdict]:
    """Return every verdict, in the order of the checks."""
    return [verdict for check in CHECKS for verdict in check(case)]


def worst(verdicts: Sequence[Verdict]) -> Grade:
    """Return the gravest grade there is."""
    return max((each.grade for each in verdicts), key=GRADES.index, default="ok")


# --- this machine


def python(case: Case) -> Iterator[Verdict]:
    """Python and what the mesh needs of it."""
    known: dict[str, Row] = case.facts() or ({} if case.here is None else {"": case.here})
    for host, row in known.items():
        about = (host,) if host else ()
        missing = [name for name, version in row["packages"].items() if version is None]
        words = f"Python {row['python']} with mesh {row['version']}, pyzmq {row['packages']['pyzmq']}"
        if missing:
            yield Verdict("python", "failed", f"Python {row['python']} lacks {', '.join(missing)}",
                          f"make install, or pip install {' '.join(missing)}", about)
        else:
            yield Verdict("python", "ok", words, hosts=about)


def configuration(case: Case) -> Iterator[Verdict]:
    """The files, as `mesh check` sees them."""
    errors = [each for each in case.findings if each.severity == "error"]
    warnings = [each for each in case.findings if each.severity == "warning"]
    for each in errors or warnings:
        place = f"{each.file}:{each.line}: " if each.line else f"{each.file}: " if each.file else ""
        yield Verdict("config", "failed" if errors else "warning", f"{place}{each.message}",
                      each.hint or "mesh check lists everything")
    if not errors and not warnings:
        words = f", environment {case.config.environment}" if case.config is not None else ""
        yield Verdict("config", "ok", f"the files are in order{words}")


def limits(case: Case) -> Iterator[Verdict]:
    """Open files, disk and memory."""
    for host, row in case.facts().items():
        troubles = list(_limits(host, row))
        yield from troubles
        if not troubles:
            files = "" if row["descriptors"] is None else f"{row['descriptors']} open files allowed, "
            yield Verdict("limits", "ok", f"{files}{_size(row['disk_free_mb'])} of disk and "
                                          f"{_size(row['memory_free_mb'])} of memory free", hosts=(host,))


def _limits(host: str, row: Row) -> Iterator[Verdict]:
    allowed, used = row["descriptors"], row["descriptors_used"]
    if allowed is not None and used > allowed * 0.8:
        yield Verdict("limits", "failed", f"{used} of {allowed} open files are in use",
                      "ulimit -n 4096 before mesh up (LimitNOFILE= under systemd)", (host,))
    elif allowed is not None and allowed < DESCRIPTORS:
        yield Verdict("limits", "warning", f"only {allowed} open files are allowed",
                      "ulimit -n 4096 before mesh up (LimitNOFILE= under systemd)", (host,))
    if not row["writable"]:
        yield Verdict("limits", "failed", f"{row['folder']} cannot be written",
                      "make its folder writable for this user, or set MESH_HOME", (host,))
    if row["disk_free_mb"] < DISK_LOW:
        yield Verdict("limits", "failed" if row["disk_free_mb"] < DISK_SPENT else "warning",
                      f"only {_size(row['disk_free_mb'])} are free on the disk of {row['folder']}", "free some",
                      (host,))
    if row["memory_free_mb"] < MEMORY_LOW:
        yield Verdict("limits", "warning", f"only {_size(row['memory_free_mb'])} of memory are free",
                      "mesh agents and your system's monitor tell who has it", (host,))


def ports(case: Case) -> Iterator[Verdict]:
    """What this machine's hosts listen at: free, or theirs."""
    for host in dict.fromkeys(row["host"] for row in case.ports):
        rows = [row for row in case.ports if row["host"] == host]
        taken = [row for row in rows if row["trouble"]]
        for row in taken:
            yield Verdict("ports", "failed", row["trouble"], hosts=(host,))
        if not taken:
            yield Verdict("ports", "ok", ", ".join(f"{row['port']} ({row['role']}) {row['state']}" for row in rows),
                          hosts=(host,))


# --- keys


def keys(case: Case) -> Iterator[Verdict]:
    """Key files, and whether every host knows the keys that the others show."""
    facts = {host: row["keys"] for host, row in case.facts().items() if row["keys"] is not None}
    if case.config is not None and case.config.security == "none":
        yield Verdict("keys", "warning", "security is none: nothing is encrypted and anybody may join",
                      "remove security: none from config/hosts.yaml")
        return
    for host, row in facts.items():
        troubles = [*_own_key(host, row), *_known_keys(case, host, row, facts)]
        yield from troubles
        if not troubles:
            yield Verdict("keys", "ok", f"own key {row['own']}, keys of "
                          f"{', '.join(name for name, known in row['known'].items() if known) or 'nobody else'} known",
                          hosts=(host,))


def _own_key(host: str, row: Row) -> Iterator[Verdict]:
    for trouble in row["trouble"]:
        message, _, command = trouble.partition("; run: ")
        yield Verdict("keys", "failed", message, command, (host,))
    if row["own"] is None and row["written"] is not None and not row["trouble"]:
        yield Verdict("keys", "failed", f"the secret key of {host}, whose public one the others know, is not here",
                      f"mesh restore a backup of {host}, or paste the line of mesh keys show --host {host} on every "
                      "machine", (host,))
    elif row["own"] is None and not row["trouble"]:
        yield Verdict("keys", "warning", f"{host} has no key yet",
                      f"the first start makes it, or: mesh keys show --host {host}", (host,))
    elif None not in (row["own"], row["written"]) and row["own"] != row["written"]:
        yield Verdict("keys", "failed", f"config/hosts.yaml gives {host} the key {row['written']}, its own is "
                      f"{row['own']}", "paste the line that mesh keys show prints on it, on every machine", (host,))


def _known_keys(case: Case, host: str, row: Row, facts: Mapping[str, Row]) -> Iterator[Verdict]:
    for peer, known in row["known"].items():
        shown = facts[peer]["own"] if peer in facts else None
        written = case.machines[host]["keys"]["known"].get(peer) if host in case.machines else known
        if known is None and written is not None:
            yield Verdict("keys", "failed", f"{host} runs without the key of {peer}, which stands in config/hosts.yaml "
                          "by now", f"restart {host}: mesh down --host {host}, then mesh up --host {host}",
                          (host, peer))
        elif known is None and not _together(case, host, peer):
            yield Verdict("keys", "failed", f"{host} does not know the key of {peer} and will refuse it",
                          f"run mesh keys show --host {peer} on {peer} and paste the line under hosts: in "
                          f"config/hosts.yaml on {host}", (host, peer))
        elif None not in (known, shown) and known != shown:
            yield Verdict("keys", "failed", f"{host} expects the key {known} of {peer}, which shows {shown}",
                          f"paste the line of mesh keys show --host {peer} into config/hosts.yaml on {host}, and "
                          f"restart {host}", (host, peer))


def _together(case: Case, host: str, peer: str) -> bool:
    """Tell whether two hosts are of this machine, where keys are found in the folder."""
    return host in case.own and peer in case.own


def strangers(case: Case) -> Iterator[Verdict]:
    """Connections that were turned away at the door in the last minutes."""
    for host, groups in case.answered(case.errors).items():
        for group in groups:
            if case.now - group["last_seen"] < RECENT and " was refused: " in group["message"]:
                yield Verdict("strangers", "warning", f"{group['message']}; told {group['count']} times",
                              "if that is a host of yours, paste its line of mesh keys show into config/hosts.yaml of "
                              f"{host} and restart {host}; else find out who it is", (host,))


# --- the mesh


def hosts(case: Case) -> Iterator[Verdict]:
    """Whether every host answers."""
    if case.config is None:
        return
    if case.directory is None:
        first, _, _ = case.silence.partition("\n")
        alone = len(case.own) < len(case.config.hosts) and case.own
        start = f"mesh up --host {case.own[0]}" if alone else "mesh up"
        yield Verdict("hosts", "warning", first or "nothing runs", f"{start} starts it")
        return
    for host, reason in away(case.directory, case.statuses).items():
        yield Verdict("hosts", "failed", f"{host} does not answer: {reason}",
                      f"look on {host} itself: mesh doctor there", (host,))
    for host, row in case.answered(case.statuses).items():
        yield Verdict("hosts", "ok", f"up for {row['uptime_s']:.0f} s, its loop {row['loop_lag_ms']:.1f} ms late, "
                                     f"security {row['security']}", hosts=(host,))
        for what, answers in (("what its machine is like", case.told), ("how it reaches the others", case.reach)):
            if isinstance(error := answers.get(host), MeshError):
                yield Verdict("hosts", "warning", f"{host} does not tell {what}: {error.message}",
                              "is its mesh an older version? --timeout gives it more time", (host,))


def links(case: Case) -> Iterator[Verdict]:
    """Both directions between every pair of hosts: the link, and a real round trip."""
    for host, rows in case.answered(case.reach).items():
        for row in rows:
            if row["host"] != "registry":
                yield _link(case, host, row)
    for row in case.dialled:
        yield _dialled(row)


def _link(case: Case, host: str, row: Row) -> Verdict:
    pair = host, row["host"]
    if row["rtt_ms"] is not None:
        return Verdict("links", "ok", f"{host} → {row['host']}: {row['rtt_ms']:.1f} ms there and back", hosts=pair)
    reason = f": {row['reason']}" if row["reason"] else ""
    found = f"{host} cannot reach {row['host']} at {row['endpoint']} (link {row['link']}{reason})"
    if row["dialled"] == "open" and row["link"] in ("none", "idle"):
        return Verdict("links", "failed", f"{found}; the port answers, but {row['host']} has not joined",
                       f"look on {row['host']}: does it reach the registry? mesh doctor there", pair)
    return Verdict("links", "failed", found, _remedy(row["dialled"], row["host"], row["port"]), pair)


def _remedy(dialled: str | None, host: str, port: int) -> str:
    """Return what to do after a TCP connect that found `dialled`."""
    if dialled == "silent":
        return (f"nothing answers on port {port}: is the machine on and the cable in? if it is, open TCP port "
                f"{port} in its firewall, such as: ufw allow {port}/tcp")
    if dialled == "closed":
        return f"the machine is there and nothing listens on port {port}: mesh up --host {host} on it"
    if dialled is None:
        return ""
    if dialled == "open":
        return "the port answers, so no firewall is in the way; the reason is in the message"
    return f"the network says: {dialled}; is the machine on, the cable in, its address in config/hosts.yaml right?"


def _dialled(row: Row) -> Verdict:
    """Judge a connect from here, where no host could be asked."""
    where = f"{row['host']} at {row['endpoint']} ({row['role']})"
    if row["dialled"] == "open":
        return Verdict("links", "ok", f"from here {where} answers", hosts=(row["host"],))
    grade: Grade = "warning" if row["dialled"] == "closed" else "failed"
    return Verdict("links", grade, f"from here {where} does not answer: {_words(row['dialled'])}",
                   _remedy(row["dialled"], row["host"], row["port"]), (row["host"],))


def _words(dialled: str) -> str:
    return {"silent": "no answer in time", "closed": "nothing listens there"}.get(dialled, dialled)


def clocks(case: Case) -> Iterator[Verdict]:
    """How far the hosts' clocks are apart; the mesh does not go by them, people who read logs do."""
    for host, rows in case.answered(case.reach).items():
        for row in rows:
            if row["ahead_s"] is not None and host < row["host"]:
                apart = f"the clock of {row['host']} is {abs(row['ahead_s']):.3f} s " + (
                    "ahead of" if row["ahead_s"] >= 0 else "behind") + f" that of {host}"
                wrong = abs(row["ahead_s"]) > SKEW
                yield Verdict("clocks", "warning" if wrong else "ok", apart,
                              "set them by NTP: timedatectl set-ntp true on both" if wrong else "", (host, row["host"]))


def versions(case: Case) -> Iterator[Verdict]:
    """Whether all hosts run one version of mesh, protocol and project, and the one that is on their disks."""
    rows = case.answered(case.statuses)
    differing = mismatches(rows.values())
    for each in differing:
        yield Verdict("versions", "failed" if each["field"] == "protocol" else "warning", each["message"],
                      "the same commit on every machine, then restart the hosts one after the other",
                      tuple(each["hosts"]))
    for host, facts in case.answered(case.told).items():
        running = rows.get(host, {}).get("revision")
        if running is not None and running != facts["revision"]:
            yield Verdict("versions", "warning", f"the files on {host} ({facts['revision']}) are not those it was "
                          f"started with ({running})",
                          "mesh agent restart SERVICE for what changed, or restart the host", (host,))
    if rows and not differing:
        row = next(iter(rows.values()))
        yield Verdict("versions", "ok", f"mesh {row['version']}, protocol {row.get('protocol')}, revision "
                                        f"{row.get('revision')} on {', '.join(rows)}", hosts=tuple(rows))


def registry(case: Case) -> Iterator[Verdict]:
    """Whether every host reaches the registry."""
    for host, rows in case.answered(case.reach).items():
        row = next(row for row in rows if row["host"] == "registry")
        if row["rtt_ms"] is not None:
            yield Verdict("registry", "ok", f"{host} → registry: {row['rtt_ms']:.1f} ms there and back", hosts=(host,))
            continue
        reason = f": {row['reason']}" if row["reason"] else ""
        at = case.config.registry.host if case.config else "its host"
        yield Verdict("registry", "failed", f"{host} cannot reach the registry at {row['endpoint']} (link {row['link']}"
                      f"{reason}); known services stay callable", _registry_remedy(row, at), (host,))


def _registry_remedy(row: Row, at: str) -> str:
    if row["dialled"] == "closed":
        return f"it does not run: mesh up --host {at} on {at} starts it (python -m registry without a launcher)"
    return _remedy(row["dialled"], at, row["port"])


def agents(case: Case) -> Iterator[Verdict]:
    """Agents that do not serve or serve with less, and engines that are configured and missing."""
    told = set()
    for host, rows in case.answered(case.agents).items():
        for row in rows:
            if row["state"] == "ready" or (row["state"] == "stopped" and not row["required"]):
                continue
            told.add(row["service"])
            down = row["required"] and row["state"] not in SERVING
            why = f": {row['reason']}" if row["reason"] else ""
            yield Verdict("agents", "failed" if down else "warning", f"{row['service']}@{host} is {row['state']}{why}",
                          f"mesh why {row['service']}", (host,))
        if not any(row["state"] not in ("ready", "stopped") for row in rows):
            yield Verdict("agents", "ok", f"{sum(row['state'] == 'ready' for row in rows)} ready", hosts=(host,))
    for service, obstacle in case.engines:
        if service not in told:
            yield Verdict("agents", "warning", f"{service}: {obstacle}", "until then its built-in engine answers")


def connections(case: Case) -> Iterator[Verdict]:
    """Whether each host finds the servers outside the mesh that config names well."""
    for host, row in case.answered(case.statuses).items():
        for one in row.get("connections") or ():
            named = f"{one['name']} at {one['address']}"
            if one["state"] == "down":
                users = f"; {', '.join(one['users'])} serve with less" if one["users"] else ""
                yield Verdict("connections", "warning", f"{host}: {one['reason']}{users}",
                              "it is used again by itself as soon as it is well", (host,))
            elif one["state"] == "ok":
                yield Verdict("connections", "ok", f"{host}: {named} is well", hosts=(host,))


def _size(megabytes: int) -> str:
    return f"{megabytes} MB" if megabytes < 10_000 else f"{megabytes / 1024:.0f} GB"


CHECKS: tuple[Check, ...] = (python, configuration, keys, strangers, limits, ports, hosts, links, clocks, registry,
                             versions, agents, connections)
