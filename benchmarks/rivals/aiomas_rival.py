"""aiomas: its RPC over TCP with its JSON codec."""

import asyncio
import sys
from typing import Any

import aiomas
from drive import drive


class Echo:
    """Returns what it is given."""

    router = aiomas.rpc.Service()

    @aiomas.expose
    def echo(self, text: str, number: int) -> dict[str, Any]:
        """Return the arguments."""
        return {"text": text, "number": number}


async def serve(port: int) -> None:
    """Answer until the parent closes the pipe."""
    server = await aiomas.rpc.start_server(("127.0.0.1", port), Echo())
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


async def measure(port: int, calls: int, alone: int) -> None:
    """Call it."""
    connection = await aiomas.rpc.open_connection(("127.0.0.1", port))

    async def call(text: str, number: int) -> Any:
        return await connection.remote.echo(text, number)

    await drive(call, calls, alone)
    await connection.close()


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    asyncio.run(serve(*numbers) if sys.argv[1] == "serve" else measure(*numbers))
