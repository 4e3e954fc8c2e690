"""The called side of the policies' benchmark: what it is asked never gets an answer."""

import asyncio

from mesh import Agent, operation


class Downstream(Agent):
    """Takes calls and is silent; with its inbox full it refuses them."""

    @operation
    async def ask(self) -> None:
        """Never answer."""
        await asyncio.Event().wait()

    @operation(idempotent=True)
    async def well(self) -> str:
        """Answer."""
        return "well"
