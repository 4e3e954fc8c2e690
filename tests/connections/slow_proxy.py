"""A proxy in front of a server on loopback that passes everything on, each answer after a delay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from mesh.clock import Clock


class SlowProxy:
    """Delays answers by `delay` seconds; `cut` ends every connection in the middle of what it does."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.port = 0
        self._behind = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers += [writer, behind_writer]
        for work in (self._pass(reader, behind_writer, False), self._pass(behind_reader, writer, True)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delayed: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if delayed and self.delay:
                    await Clock().sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def slow_proxy(port: int) -> AsyncIterator[SlowProxy]:
    """Give a proxy in front of `port`."""
    proxy = SlowProxy(port)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        for task in list(proxy._tasks):
            task.cancel()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)
        await server.wait_closed()
