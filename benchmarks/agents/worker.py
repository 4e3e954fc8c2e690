"""The called side of the fault matrix: writes down every execution, and goes wrong when it is told to."""

import asyncio
import ctypes
import time

from benchmarks.history import Journal
from mesh import Agent, operation


class Worker(Agent):
    """Works for a while and answers with the id of the call."""

    async def setup(self) -> None:
        """Open the journal."""
        self.fault, self.until = "", 0.0
        self.journal = Journal(self.folder / "journal")
        self.journal.write("start", "-", time.monotonic())

    async def teardown(self) -> None:
        """Close it."""
        self.journal.close()

    @operation
    async def work(self, call: str, seconds: float) -> str:
        """Do something that must not be done twice."""
        return await self._executed(call, seconds)

    @operation(idempotent=True)
    async def look(self, call: str, seconds: float) -> str:
        """Do something that may be done twice."""
        return await self._executed(call, seconds)

    @operation
    async def misbehave(self, fault: str, seconds: float) -> None:
        """Have executions that begin from now on go wrong for a while; `hold` keeps the interpreter for itself."""
        if fault == "hold":
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        else:
            self.fault, self.until = fault, time.monotonic() + seconds

    async def _executed(self, call: str, seconds: float) -> str:
        run, how = time.monotonic_ns(), "raised"
        self.journal.write("begin", call, time.monotonic(), run=run)
        try:
            await self._suffer(seconds)
            how = "returned"
            return call
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        finally:
            self.journal.write("end", call, time.monotonic(), run=run, how=how)

    async def _suffer(self, seconds: float) -> None:
        fault = self.fault if time.monotonic() < self.until else ""
        await asyncio.sleep(seconds + (0.3 if fault == "slow" else 0.0))
        if fault == "exception":
            raise ValueError("made to fail")
        if fault == "hang":
            await asyncio.Event().wait()
