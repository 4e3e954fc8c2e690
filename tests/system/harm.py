"""An agent that does harm when it is asked to, each kind in its own way."""

HARM = '''
import asyncio
import ctypes
import os
import sys
import time
from typing import Any

from mesh import Agent, operation, subscribe


class It(Agent):
    """Does harm."""

    heard = 0

    @operation(idempotent=True)
    async def echo(self, text: str) -> str:
        return text

    @operation
    async def pid(self) -> int:
        return os.getpid()

    @operation
    async def wait(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @operation
    async def leave(self, code: int = 7) -> None:
        os.write(2, b"these are my last words")
        os._exit(code)

    @operation
    async def exit(self, code: int = 3) -> None:
        sys.exit(code)

    @operation
    async def spin(self) -> None:
        while True:
            pass

    @operation
    async def hold(self, seconds: int) -> str:
        """Sleep in C without letting go of the interpreter."""
        ctypes.PyDLL(None).sleep(seconds)
        return "done"

    @operation
    async def eat(self, megabytes: int) -> int:
        """Take memory and touch all of it."""
        self.eaten: list[bytes] = []
        while len(self.eaten) < megabytes:
            self.eaten.append(b"x" * 2**20)
            if len(self.eaten) % 20 == 0:
                await asyncio.sleep(0.05)
        return len(self.eaten)

    @operation
    async def write(self, seconds: float, megabytes_a_second: float = 1.0) -> int:
        """Write to the standard output, past Python."""
        until, written = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            for _ in range(int(megabytes_a_second * 2**20 / 20 / 1024)):
                written += os.write(1, b"x" * 1023 + b"\\n")
            await asyncio.sleep(0.05)
        return written

    @operation
    async def open_files(self, count: int) -> int:
        with open(os.devnull) as null:
            return len([os.dup(null.fileno()) for _ in range(count)])

    @operation
    async def far(self, text: str) -> str:
        return await self.request("good.echo", text=text)

    @operation
    async def announce(self, value: Any) -> None:
        await self.publish("harm.done", value)

    @subscribe("harm.*")
    async def hear(self, payload: Any) -> None:
        self.heard += 1

    @operation
    async def count(self) -> int:
        return self.heard

    @operation
    async def save(self, value: int) -> int:
        await self.save_state({"value": value})
        return (await self.get_latest_state())["value"]
'''
