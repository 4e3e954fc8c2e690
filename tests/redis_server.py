"""A real redis-server that a test starts in a folder of its own on a free port, and can stop, pause and fill."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.eventually import wait_until
from tests.project import free_ports

START_LIMIT = 20.0


class RedisServer:
    """One redis-server on loopback; `start` after `stop` or `kill` begins with what its folder holds."""

    def __init__(self, folder: Path, *, password: str | None = None, **settings: str) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.password = password
        self._settings = {"appendonly": "yes", "appendfsync": "everysec", "save": "", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), "daemonize": "no",
                    **self._settings, **({"requirepass": self.password} if self.password else {})}
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *arguments], stdout=log, stderr=log)
        wait_until(lambda: self._answers() or self._ended(), START_LIMIT)

    def stop(self) -> None:
        """End it in good order; what it holds is on its disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def restart_empty(self) -> None:
        """Start it again as if its disk had been lost."""
        self.kill()
        for file in [path for path in self.folder.rglob("*") if path.is_file()]:
            file.unlink()
        self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Let it refuse every write for want of memory."""
        self.tell("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.tell("CONFIG", "SET", "maxmemory", "1")
        try:
            yield
        finally:
            self.tell("CONFIG", "SET", "maxmemory", "0")

    def tell(self, *words: str) -> str:
        """Send one command over a connection of its own and return the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.settimeout(5)
            for command in ([("AUTH", self.password)] if self.password else []) + [words]:
                parts = [word.encode() for word in command]
                connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                answer = connection.recv(65536).decode("utf-8", "replace")
        assert not answer.startswith("-"), f"{words}: {answer}"
        return answer

    def _answers(self) -> bool:
        try:
            return self.tell("PING").startswith("+PONG")
        except (OSError, AssertionError):  # not up, or still reading its file
            return False

    def _ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"redis-server ended: {(self.folder / 'redis.log').read_text()}")
        return False

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            process.wait(20)


@contextlib.contextmanager
def redis_running(folder: Path, *, password: str | None = None, **settings: str) -> Iterator[RedisServer]:
    """Give a server that runs and is ended in any case."""
    server = RedisServer(folder, password=password, **settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
