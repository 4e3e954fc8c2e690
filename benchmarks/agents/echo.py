"""The called side of the call benchmark: an ordinary agent."""

from collections.abc import AsyncIterator

from mesh import Agent, operation


class Echo(Agent):
    """Returns what it is given."""

    @operation(idempotent=True)
    async def echo(self, text: str, number: int) -> dict[str, int | str]:
        """Return the arguments: about 100 bytes each way."""
        return {"text": text, "number": number}

    @operation
    async def items(self, text: str, count: int) -> AsyncIterator[dict[str, int | str]]:
        """Yield `count` items of about 100 bytes."""
        for number in range(count):
            yield {"text": text, "number": number}
