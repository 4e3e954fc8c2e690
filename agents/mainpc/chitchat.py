"""Small talk that remembers the last few turns, by a language model server if there is one, else by rules."""

from __future__ import annotations

from collections import OrderedDict, deque
from pathlib import Path
from typing import Literal

import yaml
from agents_mainpc.smalltalk import SmallTalk
from agents_shared.smalltalk import SmallTalkBook
from pydantic import BaseModel

from mesh import InvalidArgument, MeshError, MLAgent, operation

BUILTIN = "builtin"
BOOK = Path(__file__).resolve().parents[1] / "shared" / "smalltalk.yaml"


class Said(BaseModel):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Talk(BaseModel):
    """The reply, and what made it: `builtin`, or the model's name."""

    response: str
    engine: str


class Chitchat(MLAgent):
    """Small talk: a friendly reply to a sentence, in the light of the last few turns with that user."""

    class Config(MLAgent.Config):
        history: int = 10
        """Turns kept per user."""
        users: int = 1000
        """Users whose turns are kept; those quiet for longest go first."""
        system: str = "You are a friendly voice assistant. Answer in one or two short sentences."
        temperature: float = 0.7
        max_tokens: int = 300

    config: Config

    async def setup(self) -> None:
        """Begin without any history."""
        self._history: OrderedDict[str, deque[Said]] = OrderedDict()
        self._trouble: str | None = None

    async def check(self) -> str | None:
        """Say why the configured server did not answer last time; the rules answer meanwhile."""
        return self._trouble

    @operation
    async def chitchat(self, text: str, user_id: str = "default") -> Talk:
        """Return a reply to `text`; a configured server that fails is reported and the rules answer instead."""
        if not text.strip():
            raise InvalidArgument("text is empty; say at least one word", path="text")
        turns = self._turns(user_id)
        talk = await self._ask_server(turns, text) or await self._ask_rules(text, user_id)
        turns += (Said(role="user", content=text), Said(role="assistant", content=talk.response))
        return talk

    @operation(idempotent=True)
    async def clear_history(self, user_id: str = "default") -> None:
        """Forget the turns with a user."""
        self._history.pop(user_id, None)
        (await self.load("smalltalk", read_rules)).forget(user_id)

    async def _ask_server(self, turns: deque[Said], text: str) -> Talk | None:
        if self.chat is None:
            return None
        messages = [{"role": "system", "content": self.config.system}, *(each.model_dump() for each in turns),
                    {"role": "user", "content": text}]
        try:
            completion = await self.chat.complete(
                messages, temperature=self.config.temperature, max_tokens=self.config.max_tokens
            )
        except MeshError as error:
            self._trouble = f"rules answer, the language model server does not: {error.message}"
            await self.report(error, severity="warning")
            return None
        self._trouble = None
        return Talk(response=completion.text.strip(), engine=completion.model)

    async def _ask_rules(self, text: str, user_id: str) -> Talk:
        talker = await self.load("smalltalk", read_rules)
        return Talk(response=talker.reply(text, user_id), engine=BUILTIN)

    def _turns(self, user_id: str) -> deque[Said]:
        turns = self._history.setdefault(user_id, deque(maxlen=self.config.history))
        self._history.move_to_end(user_id)
        if len(self._history) > self.config.users:
            self._history.popitem(last=False)
        return turns


def read_rules(path: Path = BOOK) -> SmallTalk:
    """Return the built-in talker with the rules in `path`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
    with path.open(encoding="utf-8") as file:
        return SmallTalk(SmallTalkBook.model_validate(yaml.load(file, Loader=loader)))
