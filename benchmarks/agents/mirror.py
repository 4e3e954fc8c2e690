"""The called side of the benchmark of big bodies: an ordinary agent."""

from mesh import Agent, operation

LARGEST = 128 * 1024 * 1024


class Mirror(Agent):
    """Takes bytes."""

    @operation(max_body=LARGEST, idempotent=True)
    async def reflect(self, data: bytes) -> bytes:
        """Return what it is given."""
        return data

    @operation(max_body=LARGEST, idempotent=True)
    async def swallow(self, data: bytes) -> int:
        """Return how many bytes came."""
        return len(data)
