"""gRPC: grpcio's asyncio server and channel; msgpack of the map takes the place of protobuf."""

import asyncio
import sys
from typing import Any

import grpc
import msgpack
from drive import drive


async def serve(port: int) -> None:
    """Answer until the parent closes the pipe."""
    async def echo(request: Any, context: Any) -> Any:
        return request

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {
        "echo": grpc.unary_unary_rpc_method_handler(echo, msgpack.unpackb, msgpack.packb)}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


async def measure(port: int, calls: int, alone: int) -> None:
    """Call it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary("/bench/echo", msgpack.packb, msgpack.unpackb)

        async def call(text: str, number: int) -> Any:
            return await echo({"text": text, "number": number})

        await drive(call, calls, alone)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    asyncio.run(serve(*numbers) if sys.argv[1] == "serve" else measure(*numbers))
