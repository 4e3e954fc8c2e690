"""The parent of a machine's mesh processes: starts the registry and the supervisors, restarts what dies, ends them all.

It has one thread and one loop, no ZeroMQ and no agents, so that hardly anything can happen to it. Supervisors are
stopped before the registry, all at the same time; what has not ended within the drain limit is killed. The registry
belongs to its host: whoever keeps that host keeps it too, and when that host alone is shut down it ends with it. A host
that is over is no longer held, so that another launcher may start it while this one keeps the rest.
"""

from __future__ import annotations

import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import psutil

from mesh.errors import StartError
from mesh.launcher.child import Child
from mesh.launcher.claim import LEAVE, Claim
from mesh.launcher.kept import REGISTRY, Kept, LauncherEvent, ready_event
from mesh.launcher.launcherlog import LauncherLog
from mesh.launcher.outline import Outline
from mesh.launcher.signals import Signals
from mesh.parent import KERNEL_LIMIT
from mesh.restart import Quarantine, Restarts

DRAIN_S = 10.0
REFUSED = 2

OnEvent = Callable[[LauncherEvent], None]
Commands = Mapping[str, Sequence[str]]


def default_commands(outline: Outline, hosts: Sequence[str], *, watch: bool = False) -> dict[str, list[str]]:
    """Return the command line of each child, by host name, and `registry` first if its host is among them."""
    watching = ["--watch"] if watch else []
    python, common = sys.executable, ["--config", str(outline.root), "--environment", outline.environment]
    registry = {REGISTRY: [python, "-m", "registry", *common]} if outline.registry_host in hosts else {}
    return registry | {host: [python, "-m", "mesh.supervisor", "--host", host, *common, *watching] for host in hosts}


class Launcher:
    """Keeps the processes of `hosts` alive, with the registry if that belongs to one of them, until asked to stop.

    `on_event` hears of everything and must not block. `commands` replaces `default_commands`. `began` is the
    monotonic time from which the seconds of the ready line count. Use it once, in the main thread.
    """

    def __init__(
        self,
        outline: Outline,
        hosts: Sequence[str],
        *,
        on_event: OnEvent,
        commands: Commands | None = None,
        drain_s: float = DRAIN_S,
        began: float | None = None,
    ) -> None:
        self._on_event = on_event
        self._drain_s = drain_s
        self._began = time.monotonic() if began is None else began
        self._claim = Claim(outline.home, hosts)
        commands = commands or default_commands(outline, hosts)
        self._registry_host = outline.registry_host
        self._kept: dict[str, Kept] = {}
        for name, arguments in commands.items():
            folder = outline.home / (outline.registry_host if name == REGISTRY else name) / "logs"
            output = folder / ("registry.out" if name == REGISTRY else "supervisor.out")
            self._kept[name] = Kept(Child(name, arguments, output), Restarts())
        self._hosts = [self._kept[host] for host in hosts]
        self._log = LauncherLog(outline.home, {name: outline.registry_host if name == REGISTRY else name
                                               for name in self._kept},
                                folder_bytes=outline.log_megabytes * 1_000_000)
        self._selector = selectors.DefaultSelector()
        self._signals = Signals(_handled())
        self._stopping = self._asked = self._hurried = self._told_ready = False

    def run(self) -> int:
        """Start everything, keep it alive, and return the exit code once all of it has ended.

        0: stopped as asked, or every host was shut down; 1: killed by the second Ctrl-C, or given up; 2: something
        cannot start. Raises `StartError` when another launcher keeps one of the hosts.
        """
        left = self._claim.take()
        try:
            self._outwait(left)
            with self._signals:
                self._selector.register(self._signals.descriptor, selectors.EVENT_READ, None)
                for kept in self._kept.values():
                    self._start(kept)
                while not self._finished():
                    self._turn()
        finally:
            for kept in self._kept.values():
                kept.child.kill()
            for host in self._claim.held:
                self._claim.release(host)
            self._selector.close()
            self._log.close()
        return self._exit_code()

    def _outwait(self, left: list[psutil.Process]) -> None:
        """Let the processes of an earlier launcher that was killed finish; they still hold ports and locks."""
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            self._on(LauncherEvent("waiting", None, f"an earlier launcher was killed, its processes {pids} are ending"))
        _, alive = psutil.wait_procs(left, timeout=KERNEL_LIMIT + 1.0)
        if alive:
            pid = alive[0].pid
            raise StartError(f"process {pid} of an earlier `mesh up` has not ended; end it with `kill -9 {pid}`")

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for something to happen or fall due, and do what follows."""
        for key, _ in self._selector.select(self._pause()):
            if key.data is not None:
                self._listen(key.data)
        for number in self._signals.take():
            self._signalled(number)
        now = time.monotonic()
        for kept in self._kept.values():
            self._attend(kept, now)
        if not self._told_ready:
            self._tell_ready()
        self._attend_registry(now)
        self._let_go()

    def _pause(self) -> float | None:
        """Return the seconds until something falls due, None if nothing will."""
        due = [moment for kept in self._kept.values() for moment in (kept.again_at, kept.kill_at) if moment is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _attend(self, kept: Kept, now: float) -> None:
        """Do for one child what is due: notice its end, start it again, end its patience."""
        if kept.child.pid is not None:
            pid = kept.child.pid
            code = kept.child.ended(self._unwatch)
            if code is not None:
                self._listen(kept)
                self._ended(kept, pid, code)
            elif kept.kill_at is not None and now >= kept.kill_at:
                kept.kill_at = None
                self._tell("killing", kept, f"did not stop within {self._drain_s:g} s and is killed")
                kept.child.kill()
        elif kept.again_at is not None and now >= kept.again_at:
            kept.again_at = None
            self._start(kept)

    def _finished(self) -> bool:
        return all(kept.over for kept in self._kept.values())

    def _exit_code(self) -> int:
        outcomes = {kept.over for kept in self._kept.values()}
        if self._hurried:
            return 1
        if self._asked:
            return 0
        return REFUSED if "refused" in outcomes else 1 if "quarantined" in outcomes else 0

    # --- one child ---------------------------------------------------------------------------------------------------

    def _start(self, kept: Kept) -> None:
        kept.failure = ""
        try:
            descriptor = kept.child.start()
        except PermissionError as error:
            self._refused(kept, f"{error.filename} cannot be written: {error.strerror}; make it writable, "
                                "or set MESH_HOME to a folder that is")
            return
        except OSError as error:
            self._restart(kept, f"cannot be started: {error}", None, None)
            return
        self._selector.register(descriptor, selectors.EVENT_READ, kept)
        self._tell("started", kept, f"runs as pid {kept.child.pid}", pid=kept.child.pid)
        self._write_down()

    def _listen(self, kept: Kept) -> None:
        for message in kept.child.messages(self._unwatch):
            event = message["event"]
            if event == "failed":
                kept.failure = str(message.get("message", ""))
            if event != "ready":
                self._on(LauncherEvent("status", kept.name, f"{kept.label}: {event}", message))
                continue
            kept.restarts.ready()
            kept.was_ready, kept.ready = True, message
            count = f": {message['ready']}/{message['total']} agents" if "total" in message else ""
            self._on(LauncherEvent("up", kept.name, f"{kept.label} is ready{count}", message))

    def _ended(self, kept: Kept, pid: int, code: int) -> None:
        """Decide what follows from the end of a child."""
        kept.kill_at = kept.ready = None
        how = f"(pid {pid}) {_how(code)}" + (f": {kept.failure}" if kept.failure else "")
        refused = code == REFUSED and not self._told_ready
        if code == 0 or ((self._stopping or kept.leaving) and not refused):
            kept.over = "stopped"
            self._tell("ended", kept, how, pid=pid, code=code)
        elif code == REFUSED:
            self._refused(kept, kept.failure or kept.child.last_words() or how)
        else:
            self._restart(kept, how, pid, code)
        self._write_down()

    def _restart(self, kept: Kept, how: str, pid: int | None, code: int | None) -> None:
        """Have it started again after its delay, or give it up."""
        now, last_words = time.monotonic(), kept.child.last_words()
        decision = kept.restarts.decide(now)
        if isinstance(decision, Quarantine):
            kept.over = "quarantined"
            text = f"{how} and stays down: it {decision.reason}; see {kept.child.output}"
            self._tell("quarantined", kept, text, pid=pid, code=code, reason=decision.reason, last_words=last_words)
            self._need_registry(kept)
        else:
            kept.again_at = now + decision.delay
            text = f"{how}; it is started again in {decision.delay:.1f} s"
            self._tell("restarting", kept, text, pid=pid, code=code, delay=decision.delay, last_words=last_words)

    def _refused(self, kept: Kept, message: str) -> None:
        """Leave down what says itself that it cannot start; before everything was up once, that ends the whole start.

        Half a mesh would hide what is wrong from whoever just typed `mesh up`.
        """
        kept.over = "refused"
        self._tell("refused", kept, f"cannot start: {message}", message=message)
        if not self._told_ready:
            self._stop(f"{kept.label} cannot start")
        self._need_registry(kept)

    def _need_registry(self, kept: Kept) -> None:
        """Stop everything if it was the registry and it never ran; one that did run is not needed to go on."""
        if kept.name == REGISTRY and not kept.was_ready:
            self._stop("there is no registry")

    # --- the end -----------------------------------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        if number == signal.SIGINT and self._stopping:
            self._hurried = True
            self._on(LauncherEvent("killing", None, "killed at once, as asked"))
            for kept in self._kept.values():
                kept.child.kill()
        elif number == LEAVE:
            for host in self._claim.asked_to_leave():
                self._leave(self._kept[host])
        elif number != signal.SIGCHLD:
            self._asked = True
            self._stop("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    def _stop(self, reason: str) -> None:
        """Ask the supervisors to drain and stop; the registry's turn comes when they have."""
        if self._stopping:
            return
        self._stopping = True
        self._on(LauncherEvent("stopping", None, f"{reason}: the hosts drain and stop, at most {self._drain_s:g} s",
                               {"reason": reason}))
        for kept in self._hosts:
            self._stop_child(kept, time.monotonic())

    def _leave(self, kept: Kept) -> None:
        """Stop one host for good, whatever it is doing; the others stay."""
        if kept.child.pid is not None:
            self._tell("stopping", kept, f"drains and stops, as asked, within {self._drain_s:g} s")
        kept.over = None  # one that was given up is shut down from now on
        self._stop_child(kept, time.monotonic())

    def _attend_registry(self, now: float) -> None:
        """Stop the registry when every host is over, or when its own host was shut down and the others stay."""
        registry, home = self._kept.get(REGISTRY), self._kept.get(self._registry_host)
        over = all(host.over for host in self._hosts)
        alone = home is not None and home.over == "stopped" and not self._stopping
        self._stopping = self._stopping or over
        if (over or alone) and registry is not None and not registry.over and not registry.leaving:
            self._stop_child(registry, now)

    def _stop_child(self, kept: Kept, now: float) -> None:
        kept.leaving = True
        if kept.child.pid is None:
            kept.again_at, kept.over = None, kept.over or "stopped"
        elif kept.kill_at is None:
            kept.kill_at = now + self._drain_s
            kept.child.ask_to_stop()

    def _let_go(self) -> None:
        """Release the hosts whose processes are over, so that another launcher may start them."""
        for host in self._claim.held:
            if all(kept.over for kept in self._of(host)):
                self._claim.release(host)

    def _of(self, host: str) -> list[Kept]:
        """Return what is kept for a host: its supervisor, and the registry if that belongs to it."""
        names = (host, REGISTRY) if host == self._registry_host else (host,)
        return [self._kept[name] for name in names if name in self._kept]

    # --- what others learn -------------------------------------------------------------------------------------------

    def _tell_ready(self) -> None:
        """Once every host is ready or given up, say so in one event; hosts that are stopping are no news."""
        if self._stopping or not all(host.ready or host.over for host in self._hosts):
            return
        self._told_ready = True
        if any(host.ready for host in self._hosts):
            self._on(ready_event(self._hosts, time.monotonic() - self._began))

    def _tell(self, kind: str, kept: Kept, text: str, **data: object) -> None:
        self._on(LauncherEvent(kind, kept.name, f"{kept.label} {text}", data))

    def _on(self, event: LauncherEvent) -> None:
        with suppress(Exception):  # neither a full disk nor a terminal that went away must take the mesh along
            self._log.tell(event)
        with suppress(Exception):
            self._on_event(event)

    def _write_down(self) -> None:
        for host in self._claim.held:
            pids = {kept.name: kept.child.pid for kept in self._of(host) if kept.child.pid is not None}
            with suppress(OSError):  # a full disk must not either
                self._claim.tell(host, pids)

    def _unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)


def _handled() -> list[signal.Signals]:
    """Return the signals that a launcher acts on; under nohup the loss of the terminal is none."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, LEAVE, *hang_up]


def _how(code: int) -> str:
    """Return how a process ended, in words."""
    if code == 0:
        return "ended as asked"
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
