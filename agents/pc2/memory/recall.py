"""Finding memories: by words, and by what they mean for a question.

The full text index proposes candidates (words, base forms and concepts, ranked by BM25), the judge reads each of them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents_pc2.memory.judging import Verdict, judge
from agents_pc2.memory.lexicon import lexicon
from agents_pc2.memory.questions import Question, ask
from agents_pc2.memory.reading import read
from agents_pc2.memory.store import COLUMNS, conditions, to_memory
from agents_pc2.memory.terms import anchor_terms, match_all, match_any, quoted, search_terms
from agents_pc2.memory.tokens import tokenise
from agents_shared.messages import Evidence, Memory, MemoryFilters, MemoryHit

CANDIDATES = 80
ABOUT_NAMES = 60
SAME_QUALITY = 0.06
"""Answers closer than this in score are equally good: the newest counts."""
UNANSWERING = 0.5
"""Highest score of a memory that does not answer."""
SHORT = 160
"""Characters up to which a memory is read as a whole."""
MOST_SENTENCES = 60
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memories may be found, and which of them."""

    user_id: str
    filters: MemoryFilters
    now: float


@dataclass(slots=True)
class _Judged:
    row_id: int
    memory: Memory
    verdict: Verdict
    excerpt: str = ""


def search_text(connection: sqlite3.Connection, query: str, scope: Scope, limit: int) -> list[Memory]:
    """Return memories with all words of `query` (the last may be a beginning), else with any; the best first."""
    words = quoted(token.lower for token in tokenise(query) if not token.possessive)
    if not words:
        return []
    for expression in (" AND ".join([*words[:-1], words[-1] + " *"]), " OR ".join(words)):
        found = [memory for _, memory in _candidates(connection, f"content : ({expression})", scope, limit)]
        if found:
            return found
    return []


def search_meaning(connection: sqlite3.Connection, query: str, scope: Scope, limit: int) -> list[MemoryHit]:
    """Return the memories that answer `query` or come near it, the best first."""
    question = ask(query)
    judged = [_judged(question, row_id, memory) for row_id, memory in _proposed(connection, question, scope)]
    answering = sorted((each for each in judged if each.verdict.answers), key=lambda each: -each.verdict.score)
    hits = list(_answers(answering))
    rest = sorted((each for each in judged if not each.verdict.answers), key=lambda each: -each.verdict.likeness)
    hits += [_hit(each, UNANSWERING * each.verdict.likeness, answers=False) for each in rest]
    return hits[:limit]


def said(connection: sqlite3.Connection, statement: str, scope: Scope) -> list[Memory]:
    """Return the memories that say what `statement` says, or all that answer it if it names no value."""
    question = ask(statement)
    if not question.units:
        return []
    found = []
    for _, memory in _proposed(connection, question, scope):
        verdict = judge(question, read(memory.content))
        if verdict.subject >= 0.5 and verdict.likeness >= 0.99:
            found.append(memory)
    return found


def _judged(question: Question, row_id: int, memory: Memory) -> _Judged:
    """Judge a memory, a long one sentence by sentence: what one of them answers is not blurred by the others."""
    sentences = [each.strip() for each in _SENTENCE.findall(memory.content) if each.strip()]
    if len(memory.content) <= SHORT or len(sentences) < 2:
        return _Judged(row_id, memory, judge(question, read(memory.content)))
    verdicts = [(judge(question, read(each)), each) for each in sentences[:MOST_SENTENCES]]
    verdict, excerpt = max(verdicts, key=lambda each: (each[0].score, each[0].likeness))
    return _Judged(row_id, memory, verdict, excerpt)


def _answers(answering: Sequence[_Judged]) -> Iterator[MemoryHit]:
    """Yield what answers; of several that answer equally well the newest counts, unless there may be many."""
    if not answering:
        return
    best = answering[0].verdict.score
    newest: dict[tuple[str, ...], int] = {}
    for each in answering:
        if each.verdict.score >= best - SAME_QUALITY and not _many(each.verdict):
            newest[each.verdict.about] = max(newest.get(each.verdict.about, 0), each.row_id)
    ranked = sorted(
        answering,
        key=lambda each: (each.row_id == newest.get(each.verdict.about), each.verdict.score, each.row_id),
        reverse=True,
    )
    for each in ranked:
        current = each.verdict.score >= best - SAME_QUALITY
        superseded = each.verdict.about in newest and each.row_id != newest[each.verdict.about]
        yield _hit(each, each.verdict.score, answers=current and not superseded, superseded=superseded)


def _many(verdict: Verdict) -> bool:
    """Say whether somebody may have many of what was asked: friends, but not birthdays."""
    return bool(verdict.concepts) and verdict.concepts <= lexicon().groups["many"]


def _hit(judged: _Judged, score: float, *, answers: bool, superseded: bool = False) -> MemoryHit:
    verdict = judged.verdict
    evidence = Evidence(
        subject=round(verdict.subject, 3), relation=round(verdict.relation, 3), kind=round(verdict.kind, 3),
        answers=answers, superseded=superseded, excerpt=judged.excerpt if answers else "",
    )  # fmt: skip
    return MemoryHit.model_construct(**dict(judged.memory), score=round(score, 4), evidence=evidence)


def _proposed(connection: sqlite3.Connection, question: Question, scope: Scope) -> list[tuple[int, Memory]]:
    """Return what is worth judging: all about the names of the question, and what shares words and concepts."""
    found: dict[int, Memory] = {}
    for names in anchor_terms(question):
        found.update(_candidates(connection, match_all(names), scope, ABOUT_NAMES))
    terms = search_terms(question)
    if terms:
        found.update(_candidates(connection, match_any(terms), scope, CANDIDATES))
    return list(found.items())


def _candidates(connection: sqlite3.Connection, expression: str, scope: Scope, limit: int) -> list[tuple[int, Memory]]:
    if not expression:
        return []
    condition, values = conditions(scope.user_id, scope.filters, scope.now)
    rows = connection.execute(
        f"SELECT {COLUMNS}, m.id FROM memory_index JOIN memories m ON m.id = memory_index.rowid "
        f"WHERE memory_index MATCH ? AND {condition} ORDER BY bm25(memory_index), m.importance DESC LIMIT ?",
        (expression, *values, limit),
    )
    return [(row[-1], to_memory(row)) for row in rows]
