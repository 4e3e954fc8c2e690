"""The called side of the call benchmark: an ordinary agent."""

from mesh import Agent, operation


class Echo(Agent):
    """Returns what it is given."""

    @operation(idempotent=True)
    async def echo(self, text: str, number: int) -> dict[str, int | str]:
        """Return the arguments: about 100 bytes each way."""
        return {"text": text, "number": number}
