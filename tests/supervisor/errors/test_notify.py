"""A real command and a real web server are told; what hangs, fails or is not there costs nothing but its own turn."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh.config import HostConfig, MeshConfig
from mesh.config.model import Notify, RegistryConfig
from mesh.errorbus import ErrorDetail
from mesh.supervisor.errors.notice import Gathering
from mesh.supervisor.errors.notify import Command, Notifier, NotTold, Webhook
from tests.eventually import wait_until

LIMIT = 20.0
KEEP = "import sys; open('told.jsonl', 'a').write(sys.stdin.read() + '\\n')"


def record(number: int = 1, **fields: Any) -> ErrorDetail:
    return ErrorDetail.model_validate({
        "id": f"pc2-{number:06d}", "seq": number, "time": 1.0, "severity": "error", "host": "pc2", "service": "nlu",
        "type": "KeyError", "message": "dark ü", "fingerprint": f"{number:012x}", "opens": True, **fields})


class Server(ThreadingHTTPServer):
    """Keeps what is posted to it; answers with the codes it is given, then 204."""

    daemon_threads = True

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.posted: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.hold = threading.Event()
        self.hold.set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?key=secret"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.hold.wait(LIMIT)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.server.posted.put((self.headers["Content-Type"], json.loads(body)))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(*answers: int) -> Iterator[Server]:
    with Server(*answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
            thread.join()


@contextmanager
def notifier(folder: Path, *, again_s: float = 0.05, quiet_s: float = 0.05, gather_s: float = 0.05, **wanted: Any
             ) -> Iterator[tuple[Notifier, list[str]]]:
    """Give a notifier in a hurry, and what it says of its troubles."""
    troubles: list[str] = []
    config = MeshConfig(
        mesh="home", registry=RegistryConfig(host="pc2", port=1), notify=Notify(**wanted), root=folder, home=folder,
        hosts={"pc2": HostConfig(name="pc2", address="127.0.0.1", port=1, events_port=2, metrics_port=3)},
    )
    made = Notifier(config, "pc2", troubles.append,
                    gathering=lambda: Gathering(gather_s=gather_s, quiet_s=quiet_s, again_s=again_s))
    made.start()
    try:
        yield made, troubles
    finally:
        made.close()


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- the two ways -----------------------------------------------------------------------------------------------------


def test_a_command_gets_the_document_on_its_standard_input(tmp_path: Path) -> None:
    with notifier(tmp_path, command=[sys.executable, "-c", KEEP]) as (notify, troubles):
        notify(record(), "error")
        wait_until(lambda: told(tmp_path), LIMIT)
    (document,) = told(tmp_path)
    assert (document["mesh"], document["host"], document["environment"]) == ("home", "pc2", "development")
    assert (document["count"], document["notices"][0]["id"], document["notices"][0]["message"]) == (
        1, "pc2-000001", "dark ü")
    assert troubles == []


def test_a_webhook_gets_it_posted_as_json(tmp_path: Path) -> None:
    with serving() as server, notifier(tmp_path, webhook=server.url) as (notify, troubles):
        notify(record(), "quarantine")
        kind, document = server.posted.get(timeout=LIMIT)
    assert kind == "application/json" and document["counts"] == {"quarantine": 1} and troubles == []


def test_both_are_told_if_both_are_wanted(tmp_path: Path) -> None:
    both: dict[str, Any] = {"command": [sys.executable, "-c", KEEP]}
    with serving() as server, notifier(tmp_path, webhook=server.url, **both) as (notify, _):
        notify(record(), "error")
        server.posted.get(timeout=LIMIT)
        wait_until(lambda: told(tmp_path), LIMIT)


def test_a_storm_is_one_notification_with_a_count(tmp_path: Path) -> None:
    with serving() as server, notifier(tmp_path, webhook=server.url, gather_s=0.5, quiet_s=60) as (notify, _):
        for number in range(1000):
            notify(record(number), "error")
        document = server.posted.get(timeout=LIMIT)[1]
        assert (document["count"], len(document["notices"]), document["left_out"]) == (1000, 20, 980)
        notify(record(2000), "error")
        assert server.posted.empty()
    assert server.posted.get(timeout=LIMIT)[1]["count"] == 1  # who stops does not wait for the quiet to end


def test_what_is_no_news_is_told_to_nobody(tmp_path: Path) -> None:
    with serving() as server, notifier(tmp_path, webhook=server.url, about=["error"]) as (notify, _):
        notify(record(severity="warning"), "error")
        notify(record(opens=False), "error")
        notify(record(muted=True), "error")
        notify(record(), "quarantine")
        notify(record(), None)
        notify(record(7), "error")
        assert [each["id"] for each in server.posted.get(timeout=LIMIT)[1]["notices"]] == ["pc2-000007"]
    assert server.posted.empty()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_refusal_is_said_once_and_tried_until_it_is_taken(tmp_path: Path) -> None:
    with serving(500, 503, 302) as server, notifier(tmp_path, webhook=server.url) as (notify, troubles):
        notify(record(1), "error")
        for _ in range(4):
            server.posted.get(timeout=LIMIT)
        assert len(troubles) == 1 and "it answered 500" in troubles[0] and "secret" not in troubles[0]
        server.answers.append(500)
        notify(record(2), "error")
        assert [each["id"] for each in server.posted.get(timeout=LIMIT)[1]["notices"]] == ["pc2-000002"]
        wait_until(lambda: len(troubles) == 2, LIMIT)


def test_a_command_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    hang = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); " \
           "open('begun', 'w'); time.sleep(600)"
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with serving() as server:
        with notifier(tmp_path, webhook=server.url, command=[sys.executable, "-c", hang]) as (notify, _):
            notify(record(), "error")
            assert server.posted.get(timeout=LIMIT)[1]["count"] == 1
            wait_until(lambda: (tmp_path / "begun").exists(), LIMIT)
            began = time.monotonic()
        assert time.monotonic() - began < 60.0
    wait_until(lambda: {process.pid for process in psutil.Process().children(recursive=True)} <= before, LIMIT)


def test_a_command_has_its_limit_and_whatever_it_started_ends_with_it(tmp_path: Path) -> None:
    hang = "import subprocess, sys, time; " \
           "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); " \
           "open('pid', 'w').write('x'); time.sleep(600)"
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(NotTold, match=r"did not end within 0.5 s"):
        Command([sys.executable, "-c", hang], tmp_path).send(b"{}", 0.5)
    wait_until(lambda: {process.pid for process in psutil.Process().children(recursive=True)} <= before, LIMIT)


@pytest.mark.parametrize(("arguments", "words"), [
    ((sys.executable, "-c", "import sys; print('no bulb'); sys.exit(3)"), "ended with code 3: no bulb"),
    (("/no/such/program",), "cannot be started"), (("/",), "cannot be started"),
])
def test_a_command_that_fails_says_why(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(NotTold, match=words):
        Command(arguments, tmp_path).send(b"{}", LIMIT)


def test_a_command_is_no_shell_and_need_not_read(tmp_path: Path) -> None:
    program = "import sys; assert sys.argv[1] == '; touch hacked'"
    Command([sys.executable, "-c", program, "; touch hacked"], tmp_path).send(b"x" * 1_000_000, LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_a_webhook_that_is_not_there_or_hangs_says_so(tmp_path: Path) -> None:
    with serving() as server:
        server.hold.clear()
        with pytest.raises(NotTold, match="timed out"):
            Webhook(server.url).send(b"{}", 0.2)
        url = server.url
    with pytest.raises(NotTold, match="refused"):
        Webhook(url).send(b"{}", LIMIT)


def test_nothing_runs_where_nobody_is_to_be_told(tmp_path: Path) -> None:
    with notifier(tmp_path) as (notify, troubles):
        notify(record(), "error")
        assert not any(thread.name.startswith("notify-") for thread in threading.enumerate())
    assert troubles == []
