"""Does this memory answer this question? Decided by parts, each of which must hold.

* The *subject* must be the same: every name, every thing and every owner of the question is in the memory, and what the
  memory says is said of them and not of something of theirs ("Anna's boss").
* The *relation* must be the same, in whatever words: each telling word of the question has its like in the memory.
* A *value* of the kind that is wanted must be there and be news: a date for "when", a colour for "which shade".

What it does not know: time, users, and what other memories say. Not knowing is better than a wrong answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents_pc2.memory import relation, subject, values
from agents_pc2.memory.lexicon import lexicon
from agents_pc2.memory.likeness import Alignment
from agents_pc2.memory.questions import Question
from agents_pc2.memory.units import Reading

ANSWERS_FROM = 0.6
LEAST_SUBJECT = 0.3
"""Below this the rest is not worth looking at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well a memory answers a question: each part from 0 to 1, and the score they make together.

    `likeness` is the share of the question's words that the memory has in some way, `about` are the names both speak
    of, `concepts` those of the question that were found.
    """

    subject: float
    relation: float
    kind: float
    likeness: float = 0.0
    concepts: frozenset[str] = frozenset()
    about: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """Return the product of the parts."""
        return self.subject * self.relation * self.kind

    @property
    def answers(self) -> bool:
        """Say whether the memory may be given as the answer."""
        return self.score >= ANSWERS_FROM


def judge(question: Question, memory: Reading) -> Verdict:
    """Return how well `memory` answers `question`, the hardest part first."""
    pair = Alignment(question, memory, lexicon())
    same = 0.0 if memory.asks else subject.fit(pair)
    if same < LEAST_SUBJECT:
        return Verdict(0.0, 0.0, 0.0, pair.share)
    told, concepts = relation.fit(pair)
    return Verdict(same, told, values.fit(pair), pair.share, concepts, subject.names_in_both(pair))
