"""The last step before the user: makes one reply of what was found, and says so when nothing was."""

from __future__ import annotations

from collections.abc import Sequence

from agents_mainpc.perspective import clause, sentence
from agents_shared.messages import CONVERSATION, ComposedReply, MemoryHit

from mesh import InvalidArgument, MeshError, MLAgent, operation

BUILTIN = "builtin"
NOT_KNOWN = "I don't know that: nothing you have told me answers it."
NOTHING_TO_SAY = "I have no answer to that."


class Responder(MLAgent):
    """Composes the reply to a user from memories and drafts; what nobody has told, it does not know."""

    class Config(MLAgent.Config):
        sentences: int = 5
        """Most memories repeated in one reply."""
        notes: int = 12
        """Most memories shown to a language model server."""
        answer_s: float = 10.0
        """How long a language model server may take before the built-in engine answers."""
        system: str = (
            "You answer the user of a household assistant in one or two short sentences. Use only the notes below: "
            "what the user has told the assistant, in the user's own words, so that 'my' in them is the user's. If the "
            "notes do not hold the answer, say that you do not know."
        )

    config: Config

    async def setup(self) -> None:
        """Nothing has gone wrong yet."""
        self._trouble: str | None = None

    async def check(self) -> str | None:
        """Say why the configured server did not answer last time; the built-in engine answers meanwhile."""
        return self._trouble

    @operation(idempotent=True)
    async def generate_response(
        self, text: str, user: str = "", intent: str = "", memories: list[MemoryHit] | None = None,
        draft: str | None = None, language: str = "en",
    ) -> ComposedReply:  # fmt: skip
        """Return the reply to `text`: from the memories that answer it, else the draft, else not knowing.

        For intent `remember`, `memories` are what was just stored. `engine` is `builtin` or the model that worded it.
        """
        if not text.strip():
            raise InvalidArgument("text is empty; give the words the user said", path="text")
        found = [hit for hit in memories or [] if hit.memory_type not in CONVERSATION]
        builtin = compose(intent, found, draft or "", self.config.sentences)
        if intent == "remember" or (draft and not builtin_answers(found)):
            return builtin
        return await self._from_server(text, found, builtin, language) or builtin

    async def _from_server(
        self, text: str, found: Sequence[MemoryHit], builtin: ComposedReply, language: str
    ) -> ComposedReply | None:
        if self.chat is None:
            return None
        current = [hit for hit in found if not hit.evidence.superseded][: self.config.notes]
        notes = "\n".join(f"- {hit.content}" for hit in current) or "(there are no notes)"
        spoken = "" if language == "en" else f" Answer in the language with the code {language}."
        messages = [
            {"role": "system", "content": f"{self.config.system}{spoken}\n\nNotes:\n{notes}"},
            {"role": "user", "content": text},
        ]
        try:
            completion = await self.chat.complete(
                messages, temperature=0.2, max_tokens=300, timeout=self.config.answer_s
            )
        except MeshError as error:
            self._trouble = f"the built-in engine answers, the language model server does not: {error.message}"
            await self.report(error, severity="warning")
            return None
        self._trouble = None
        said = completion.text.strip()
        return ComposedReply(text=said, engine=completion.model, known=builtin.known) if said else None


def compose(intent: str, found: Sequence[MemoryHit], draft: str, most: int) -> ComposedReply:
    """Return the built-in reply: an acknowledgement, what answers, the draft, or not knowing, in this order."""
    if intent == "remember" and found:
        told = "; ".join(clause(hit.content) for hit in found)
        return ComposedReply(text=f"I will remember: {told}.", engine=BUILTIN, known=True)
    answers = builtin_answers(found)
    if answers:
        sentences = dict.fromkeys(sentence(hit.evidence.excerpt or hit.content) for hit in answers[:most])
        return ComposedReply(text=" ".join(sentences), engine=BUILTIN, known=True)
    if draft:
        return ComposedReply(text=draft, engine=BUILTIN, known=True)
    return ComposedReply(text=NOT_KNOWN if intent in ("recall", "") else NOTHING_TO_SAY, engine=BUILTIN, known=False)


def builtin_answers(found: Sequence[MemoryHit]) -> list[MemoryHit]:
    """Return the memories whose evidence says that they answer."""
    return [hit for hit in found if hit.evidence.answers]
