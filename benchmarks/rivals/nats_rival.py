"""NATS: nats-server and nats-py, request and reply, msgpack of the map."""

import asyncio
import subprocess
import sys
from typing import Any

import msgpack
import nats
from drive import drive


async def serve(port: int) -> None:
    """Run a server and a responder until the parent closes the pipe."""
    server = await asyncio.create_subprocess_exec("nats-server", "-a", "127.0.0.1", "-p", str(port),
                                                  stderr=subprocess.DEVNULL)
    try:
        connection = await nats.connect(f"nats://127.0.0.1:{port}", connect_timeout=5, max_reconnect_attempts=100,
                                        reconnect_time_wait=0.1)

        async def answer(message: Any) -> None:
            await message.respond(msgpack.packb(msgpack.unpackb(message.data)))

        await connection.subscribe("echo", cb=answer)
        await connection.flush()
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await connection.close()
    finally:
        server.terminate()
        await server.wait()


async def measure(port: int, calls: int, alone: int) -> None:
    """Call it."""
    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def call(text: str, number: int) -> Any:
        reply = await connection.request("echo", msgpack.packb({"text": text, "number": number}), timeout=30)
        return msgpack.unpackb(reply.data)

    await drive(call, calls, alone)
    await connection.close()


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    asyncio.run(serve(*numbers) if sys.argv[1] == "serve" else measure(*numbers))
