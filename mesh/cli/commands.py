"""Every command there is: its name, its arguments and its help; what it does is in the module of its family.

Those modules are imported when a command runs, not before: `mesh --help` then takes a tenth of a second instead of
half a one, and `mesh status` does not load the agents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mesh import __version__
from mesh.cli.command import Debug, Environment, Folder, Timeout, command
from mesh.cli.scope import Scope
from mesh.cli.wish import Wish

Force = Annotated[bool, typer.Option("--force", help="Also if callers of the old code break.")]
Host = Annotated[str | None, typer.Option("--host", metavar="NAME", help="Only this host.")]
Key = Annotated[str, typer.Argument(metavar="KEY", show_default=False)]
Service = Annotated[str, typer.Argument(metavar="SERVICE", show_default=False)]
Data = Annotated[str | None, typer.Option("--data", metavar="JSON", help="Arguments or payload as JSON.")]
Target = Annotated[str, typer.Argument(metavar="SERVICE.OPERATION", show_default=False)]
Arguments = Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", show_default=False)]
ToHost = Annotated[str | None, typer.Option("--to", "--to-host", metavar="PLACE",
                                            help="The host that shall answer, or one instance there as pc2#2.")]
Balance = Annotated[str | None, typer.Option("--balance", metavar="STRATEGY", help="How one of several instances is "
                                             "chosen: two_choices, round_robin, hash, …")]
Of = Annotated[str | None, typer.Option("--key", help="Text for `hash`: the same one goes to the same instance.")]
Attempts = Annotated[int | None, typer.Option("--retry", metavar="N", help="Attempts there may be; 1 is no retry.")]
Traced = Annotated[bool, typer.Option("--trace", help="Keep its spans, for `mesh trace`.")]
OfService = Annotated[str | None, typer.Option("--service", metavar="NAME", help="Only errors of this service.")]
Severity = Annotated[str | None, typer.Option("--severity", metavar="NAME",
                                              help="Only this severity and worse: debug, info, warning, error, "
                                                   "critical.")]

Every = Annotated[bool, typer.Option("--all", help="Muted ones as well.")]
Groups = Annotated[list[str], typer.Argument(metavar="FINGERPRINT...", show_default=False,
                                             help="As `mesh errors` lists it, its beginning, or an error's id.")]

app = typer.Typer(name="mesh", help="Agents on a few machines that call each other by name: start, look, ask, stop.",
                  no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
_events = typer.Typer(help="What is published.", no_args_is_help=True)
_errors = typer.Typer()
_agent = typer.Typer(help="The life of one agent.", no_args_is_help=True)
_config = typer.Typer(help="Configuration, also while the mesh runs.", no_args_is_help=True)
_new = typer.Typer(help="Files to begin with.", no_args_is_help=True)
_cache = typer.Typer(help="Answers that hosts keep.", no_args_is_help=True)
_keys = typer.Typer(help="Identity of hosts and operators.", no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mesh {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    ctx: typer.Context, config: Folder = None, environment: Environment = None, debug: Debug = False,
    timeout: Timeout = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                          help="Print the version.")] = False,
) -> None:
    ctx.obj = Scope(config, environment, debug, timeout)


@command(app, "up", timeout=None)
def up(
    scope: Scope,
    host: Annotated[str | None, typer.Option("--host", metavar="NAME",
                                             help="This host only, and the registry if it belongs here.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="In the background; returns when it is ready.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Agents follow their files; for development.")] = False,
    no_launcher: Annotated[bool, typer.Option("--no-launcher", help="Without the parent that restarts.")] = False,
    status_fd: Annotated[int | None, typer.Option("--status-fd", hidden=True)] = None,
) -> int:
    """Start all hosts here, or one.

    Ctrl-C drains and stops; a second one ends at once."""
    from mesh.cli.up import up as run  # see the head of this file, here and below

    return run(scope, host, detach, watch, not no_launcher, status_fd)


@command(app, "down", timeout=30.0)
def down(scope: Scope, host: Host = None) -> None:
    """Drain and stop all hosts, or one."""
    from mesh.cli.down import down as run

    run(scope, host)


@command(app, "status")
def status(scope: Scope) -> int:
    """Registry, hosts, agents by state."""
    from mesh.cli.status import status as run

    return run(scope)


@command(app, "agents")
def agents(
    scope: Scope, host: Host = None,
    state: Annotated[str | None, typer.Option("--state", metavar="NAME", help="Only agents in this state.")] = None,
    sort: Annotated[str, typer.Option("--sort", metavar="COLUMN", help="service, host, state, calls, errors, p50_ms, "
                                      "p99_ms, loop_ms, inbox or restarts.")] = "service",
) -> None:
    """A line per agent: state, calls, errors."""
    from mesh.cli.agents import agents as run

    run(scope, host, state, sort)


@command(app, "describe")
def describe(scope: Scope, service: Service, host: Host = None) -> None:
    """All about a service.

    Where it runs, its operations, events, dependencies, and the config in force."""
    from mesh.cli.describe import describe as run

    run(scope, service, host)


@command(app, "call", timeout=30.0)
def call(
    scope: Scope,
    target: Target,
    arguments: Arguments = None,
    data: Data = None,
    to_host: ToHost = None,
    balance: Balance = None,
    key: Of = None,
    retry: Attempts = None,
    trace: Traced = False,
) -> int:
    """One request and its answer."""
    from mesh.cli.call import call as run

    return run(scope, target, arguments or [], data, Wish(to_host, balance, key, retry), trace)


@command(app, "trace")
def trace(
    scope: Scope,
    trace_id: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False,
                                                   help="A trace id or its beginning, an error's id, or a "
                                                        "traceparent.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only traces in which something failed.")] = False,
    slowest: Annotated[bool, typer.Option("--slowest", help="The slowest first, not the latest.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many traces.")] = 20,
) -> None:
    """One request across hosts as a waterfall.

    Without ID the latest traces. Kept are sampled ones, and what failed of all others."""
    from mesh.cli.trace import latest
    from mesh.cli.trace import trace as run

    if trace_id is None:
        latest(scope, failed=failed, slowest=slowest, limit=limit)
    else:
        run(scope, trace_id)


@command(app, "stream", timeout=30.0)
def stream(
    scope: Scope,
    target: Target,
    arguments: Arguments = None,
    data: Data = None,
    to_host: ToHost = None,
    balance: Balance = None,
    key: Of = None,
    retry: Attempts = None,
    trace: Traced = False,
) -> int:
    """The items of one operation, as they come.

    The timeout is for each of them. Ctrl-C ends the operation, too."""
    from mesh.cli.stream import stream as run

    return run(scope, target, arguments or [], data, Wish(to_host, balance, key, retry), trace)


@command(app, "publish")
def publish(
    scope: Scope, topic: Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)], data: Data = None
) -> None:
    """Publish one event."""
    from mesh.cli.events import publish as run

    run(scope, topic, data)


app.add_typer(_events, name="events")


@command(_events, "tail", timeout=None)
def events_tail(
    scope: Scope,
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", show_default=False,
                                           help="`*` is one segment, a final `#` the rest.")] = "#",
) -> None:
    """Each event as it is published, until Ctrl-C."""
    from mesh.cli.events import tail as run

    run(scope, pattern)


app.add_typer(_errors, name="errors")


@command(_errors, None)
def errors(
    scope: Scope, service: OfService = None, host: Host = None, severity: Severity = None,
    every: Every = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many groups.")] = 100,
) -> None:
    """What went wrong, in groups."""
    from mesh.cli.errors import Chosen, groups

    groups(scope, Chosen(service, host, severity, every), limit)


@command(_errors, "tail", timeout=None)
def errors_tail(
    scope: Scope, service: OfService = None, host: Host = None, severity: Severity = None, every: Every = False
) -> None:
    """The kept errors, then each as it happens, until Ctrl-C."""
    from mesh.cli.errors import Chosen
    from mesh.cli.errortail import tail as run

    run(scope, Chosen(service, host, severity, every))


@command(_errors, "ack")
def errors_ack(scope: Scope, groups: Groups) -> int:
    """Acknowledge groups: they are new again when they occur again."""
    from mesh.cli.errorstate import ACKNOWLEDGED, judge

    return judge(scope, groups, ACKNOWLEDGED)


@command(_errors, "unack")
def errors_unack(scope: Scope, groups: Groups) -> int:
    """Make acknowledged groups new again."""
    from mesh.cli.errorstate import UNACKNOWLEDGED, judge

    return judge(scope, groups, UNACKNOWLEDGED)


@command(_errors, "mute")
def errors_mute(
    scope: Scope, groups: Groups,
    span: Annotated[str | None, typer.Option("--for", metavar="TIME", help="How long: 10m, 2h, 1d.",
                                             show_default="for good")] = None,
) -> int:
    """Count groups on, but neither show them nor tell anybody."""
    from mesh.cli.errorstate import judge, muted

    return judge(scope, groups, muted(span))


@command(_errors, "unmute")
def errors_unmute(scope: Scope, groups: Groups) -> int:
    """Show muted groups again."""
    from mesh.cli.errorstate import UNMUTED, judge

    return judge(scope, groups, UNMUTED)


@command(_errors, "show")
def errors_show(scope: Scope, error_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)]) -> None:
    """One error with traceback, trace, and what was done about it."""
    from mesh.cli.errors import show as run

    run(scope, error_id)


@command(app, "logs", timeout=None)
def logs(
    scope: Scope,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each line as it is written, until "
                                                                "Ctrl-C.")] = False,
    service: Annotated[str | None, typer.Option("--service", metavar="NAME",
                                                help="Only lines of this service.")] = None,
    host: Host = None,
    trace: Annotated[str | None, typer.Option("--trace", metavar="ID", help="Only lines of this trace; its first "
                                                                            "digits suffice.")] = None,
    level: Annotated[str | None, typer.Option("--level", metavar="NAME", help="Only this level and worse: debug, info, "
                                                                              "warning, error, critical.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="All lines since: 30s, 10m, 2h, 1d ago, "
                                                                              "14:30, 2026-05-01T14:30.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=5000, help="How many lines, without --since.")] = 100,
) -> int:
    """The logs of all hosts in one stream, in order of time."""
    from mesh.cli.logs import logs as run

    return run(scope, follow=follow, service=service, host=host, trace=trace, level=level, since=since, limit=limit)


@command(app, "ask", timeout=30.0)
def ask(
    scope: Scope,
    text: Annotated[list[str], typer.Argument(metavar="TEXT", show_default=False)],
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who asks.",
                                             show_default="the login name")] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="The conversation it belongs to.",
                                                show_default="one per terminal")] = None,
) -> int:
    """Ask the assistant something in words."""
    from mesh.cli.ask import ask as run

    return run(scope, " ".join(text), user, session)


@command(app, "check", timeout=None, patient=True)
def check(scope: Scope) -> int:
    """Validate config and agents; starts nothing."""
    from mesh.cli.check import check as run

    return run(scope)


@command(app, "backup", timeout=None, patient=True)
def backup(
    scope: Scope, file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
) -> int:
    """Save this machine's keys and state to a file, also while it runs."""
    from mesh.cli.backup import backup as run

    return run(scope, file)


@command(app, "restore", timeout=None, patient=True)
def restore(
    scope: Scope, file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Move aside what is there.")] = False,
) -> None:
    """Put back what `mesh backup` saved; nothing may run."""
    from mesh.cli.backup import restored as run

    run(scope, file, force)


@command(app, "why")
def why(
    scope: Scope,
    subject: Annotated[str, typer.Argument(metavar="SERVICE|SERVICE.OPERATION|TRACE", show_default=False)],
) -> int:
    """Why a service or a request is as it is, in one screen."""
    from mesh.cli.why import why as run

    return run(scope, subject)


@command(app, "doctor", timeout=10.0)
def doctor(
    scope: Scope,
    host: Annotated[str | None, typer.Option("--host", metavar="NAME", help="Only what is about this host.")] = None,
) -> int:
    """Ports, keys, clocks, limits, versions, both directions: is everything right?"""
    from mesh.cli.doctor import doctor as run

    return run(scope, host)


@command(app, "top", timeout=None)
def top(
    scope: Scope, host: Host = None,
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", help="How often to look.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one page and end.")] = False,
) -> None:
    """Hosts, busiest agents, slowest operations, errors: live."""
    from mesh.cli.top import top as run

    run(scope, host, interval, once)


@command(app, "blame")
def blame(scope: Scope, host: Host = None) -> None:
    """Who used the event loops, who held them, and where."""
    from mesh.cli.blame import blame as run

    run(scope, host)


@command(app, "bench", timeout=None)
def bench(
    scope: Scope,
    origin: Annotated[str | None, typer.Option("--from", metavar="HOST", help="The host that calls.",
                                               show_default="the one that answers here")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="HOST", help="The other host that is called.",
                                           show_default="the first there is")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.3, max=30.0, help="How long in all.")] = 12.0,
) -> None:
    """Calls per second and how long one takes.

    Between two hosts and inside one, against pyzmq alone on this machine. An agent that echoes runs on both meanwhile;
    both are busy."""
    from mesh.cli.bench import bench as run

    run(scope, origin, to, seconds)


@command(app, "graph")
def graph(
    scope: Scope,
    declared: Annotated[bool, typer.Option("--declared", help="Only what config and code say; needs no mesh.")] = False,
    observed: Annotated[bool, typer.Option("--observed", help="Only the calls that were made.")] = False,
    shape: Annotated[str, typer.Option("--format", metavar="NAME", help="text, dot or svg.")] = "text",
) -> None:
    """Who depends on whom, who really calls whom."""
    from mesh.cli.graph import graph as run

    run(scope, declared, observed, shape)


@command(app, "plan", timeout=None)
def plan(scope: Scope, host: Host = None) -> None:
    """What `up` would do: waves, soft edges, ports."""
    from mesh.cli.plan import plan as run

    run(scope, host)


@command(_new, "agent", timeout=None)
def new_agent(
    scope: Scope,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    host: Annotated[str | None, typer.Option("--host", metavar="NAME", help="The host it shall run on.",
                                             show_default="the first of hosts.yaml")] = None,
    layer: Annotated[str, typer.Option("--layer", metavar="NAME", help="What it is derived from: Agent, DataAgent, "
                                       "MLAgent or IntegrationAgent.")] = "Agent",
) -> None:
    """An agent with its config and a test that passes."""
    from mesh.cli.new import new_agent as run

    run(scope, name, host, layer)


@command(app, "stubs", timeout=30.0)
def stubs(
    scope: Scope,
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to.",
                                             show_default="agents/clients")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="From the agents' files; needs no mesh.")] = False,
) -> None:
    """Write typed peers of services for your agents."""
    from mesh.cli.stubs import stubs as run

    run(scope, services or [], out, offline)


app.add_typer(_new, name="new")
app.add_typer(_config, name="config")


@command(_config, "get")
def config_get(
    scope: Scope, service: Service,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", show_default=False)] = None, host: Host = None,
) -> None:
    """The values in force and where each came from."""
    from mesh.cli.config import get as run

    run(scope, service, key, host)


@command(_config, "set", timeout=30.0)
def config_set(
    scope: Scope, service: Service, key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", show_default=False)],
) -> int:
    """Change a value while the agent runs; waits for the outcome."""
    from mesh.cli.config import change as run

    return run(scope, service, key, value)


@command(_config, "unset", timeout=30.0)
def config_unset(scope: Scope, service: Service, key: Key) -> int:
    """Have files and environment say again what a value is."""
    from mesh.cli.config import change as run

    return run(scope, service, key, None)


@command(_config, "diff")
def config_diff(
    scope: Scope, service: Annotated[str | None, typer.Argument(metavar="[SERVICE]", show_default=False)] = None,
) -> None:
    """What operators changed and files say, against the defaults."""
    from mesh.cli.config import diff as run

    run(scope, service)


app.add_typer(_agent, name="agent")


@command(_agent, "start", timeout=30.0)
def agent_start(scope: Scope, service: Service, host: Host = None) -> int:
    """Start an agent, also out of quarantine; waits for the outcome."""
    from mesh.cli.agent import act

    return act(scope, "start", service, host)


@command(_agent, "stop", timeout=30.0)
def agent_stop(scope: Scope, service: Service, host: Host = None) -> int:
    """Drain and stop an agent; it stays stopped until it is started."""
    from mesh.cli.agent import act

    return act(scope, "stop", service, host)


@command(_agent, "drain", timeout=60.0)
def agent_drain(
    scope: Scope, service: Service, host: Host = None,
    grace: Annotated[float, typer.Option("--grace", metavar="SECONDS", min=0.0,
                                         help="How long what runs may take.")] = 20.0,
) -> int:
    """Take no new calls, let those that run end, then stop; it stays stopped until it is started."""
    from mesh.cli.agent import act

    return act(scope, "drain", service, host, grace_s=grace)


@command(_agent, "restart", timeout=60.0)
def agent_restart(
    scope: Scope, service: Service, host: Host = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="Without a failed call: each new one is set up beside the "
                                                            "old, host after host.")] = False,
) -> int:
    """Stop an agent and start it anew."""
    from mesh.cli.agent import act
    from mesh.cli.reload import roll

    return roll(scope, service, host) if rolling else act(scope, "restart", service, host)


@command(_agent, "reload", timeout=300.0)
def agent_reload(
    scope: Scope,
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", show_default=False)] = None,
    host: Host = None,
    every: Annotated[bool, typer.Option("--all", help="Every agent.")] = False,
    force: Force = False,
    version: Annotated[str | None, typer.Option(
        "--as", metavar="NAME", help="Beside the old, as SERVICE:NAME.")] = None,
) -> int:
    """Run the code on disk, set up beside the old; no call is lost.

    What does not come up, or would break callers, leaves the old code serving.
    """
    from mesh.cli.reload import begin
    from mesh.cli.reload import reload as run

    return run(scope, services or [], every, host, force) if version is None else begin(scope, services or [], version,
                                                                                        host)


@command(_agent, "promote", timeout=300.0)
def agent_promote(
    scope: Scope, name: Annotated[str, typer.Argument(metavar="SERVICE:VERSION", show_default=False)],
    host: Host = None, force: Force = False,
) -> int:
    """Put a version that runs beside its service in its place; no call is lost."""
    from mesh.cli.reload import promote

    return promote(scope, name, host, force)


@command(_agent, "isolate", timeout=60.0)
def agent_isolate(
    scope: Scope, service: Service,
    isolation: Annotated[str, typer.Argument(metavar="coroutine|thread|process|config", show_default=False)],
    host: Host = None,
) -> int:
    """Move an agent between loop, thread and process, live."""
    from mesh.cli.agent import act

    return act(scope, "isolate", service, host, isolation=isolation)


@command(_agent, "scale", timeout=60.0)
def agent_scale(
    scope: Scope, service: Service,
    instances: Annotated[int, typer.Argument(min=0, metavar="N", show_default=False)], host: Host = None,
) -> int:
    """Run so many instances of an agent on each of its hosts, or on one."""
    from mesh.cli.scale import scale

    return scale(scope, service, instances, host)


app.add_typer(_cache, name="cache")


@command(_cache, "show")
def cache_show(
    scope: Scope,
    service: Annotated[str | None, typer.Option("--service", metavar="NAME", help="Only answers of this one.")] = None,
    host: Host = None,
) -> None:
    """What each host keeps, and how many calls that has spared."""
    from mesh.cli.cache import show as run

    run(scope, service, host)


@command(_cache, "clear")
def cache_clear(
    scope: Scope,
    service: Annotated[str | None, typer.Argument(metavar="[SERVICE[.OPERATION]]", show_default=False,
                                                  help="Whose answers.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="Answers under a tag; may be given "
                                                                                "several times.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every answer.")] = False,
) -> None:
    """Have every host let go of kept answers, because they no longer hold."""
    from mesh.cli.cache import clear as run

    run(scope, service, tag or [], everything)


app.add_typer(_keys, name="keys")


@command(_keys, "show")
def keys_show(scope: Scope, host: Host = None) -> None:
    """The public keys of this machine's hosts, as lines for hosts.yaml elsewhere."""
    from mesh.cli.keys import show as run

    run(scope, host)
