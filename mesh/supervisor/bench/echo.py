"""The agent that `mesh bench` calls: an ordinary one, started for that time alone and named in no file."""

from mesh import Agent, operation


class Echo(Agent):
    """Returns what it is given."""

    @operation(idempotent=True)
    async def echo(self, text: str, number: int) -> dict[str, int | str]:
        """Return the arguments: about 100 bytes each way."""
        return {"text": text, "number": number}
