"""What a sentence wants: word patterns first, near matches of known sentences next, a trained classifier last."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import yaml
from agents_mainpc.intent_classifier import Guess, IntentClassifier, train
from agents_mainpc.intent_grammar import IntentGrammar, Match, Sentence
from agents_mainpc.spoken_time import SpokenTimes
from agents_shared.intents import IntentBook
from pydantic import BaseModel

from mesh import AgentConfig, InvalidArgument, MLAgent, operation

SHARED = Path(__file__).resolve().parents[1] / "shared"
UNKNOWN = "unknown"
_HIGHEST = 0.9
_NO_MATCH = 0.3
_POLITE_SHARE = 0.6
_NEAR = 90.0  # of 100, how alike two sentences must be to mean the same
_TIMED = frozenset({"reminder", "alarm"})
_CONTENT = {
    "remember": "content", "recall": "query", "search": "query", "summarize": "content", "forget": "content",
    "reminder": "content", "calculate": "expression",
}
_NEEDS = ("numpy", "rapidfuzz", "dateparser")


class Entity(BaseModel):
    """One detail of a sentence; a time is ISO 8601 with the offset of this machine."""

    entity: str
    value: str
    confidence: float


class Analysis(BaseModel):
    """What a sentence wants: an intent, how sure that is (0 to 0.9), and the details."""

    text: str
    normalised: str
    intent: str
    confidence: float
    entities: list[Entity]


class IntentList(BaseModel):
    """The labels that `analyze` may answer."""

    intents: list[str]


@dataclass(frozen=True, slots=True)
class Patterns:
    """What intents.yaml holds, compiled: `repair` are the first words worth putting right."""

    grammar: IntentGrammar
    times: SpokenTimes
    repair: list[str]


class Nlu(MLAgent):
    """Turns a sentence (English, Tagalog or a mix) into an intent, a confidence and the details to act on."""

    class Config(AgentConfig):
        least_probability: float = 0.35
        """Below this the classifier's best guess counts for nothing."""
        least_for_question: float = 0.7
        """Below this a question that the classifier takes for something else is still about what was stored."""

    config: Config

    async def check(self) -> str | None:
        """Say which library of the classifier is missing; patterns answer without it."""
        missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
        return f"patterns only, {', '.join(missing)} not installed: pip install 'mesh[nlp]'" if missing else None

    @operation(idempotent=True)
    async def analyze(self, text: str) -> Analysis:
        """Return what `text` wants; `unknown` when nothing is likely. An empty text is `invalid_argument`."""
        if not text.strip():
            raise InvalidArgument("text is empty; write at least one word", path="text")
        patterns = await self._patterns()
        sentence = patterns.grammar.read(text)
        found = patterns.grammar.match(sentence)
        if found is None:
            intent, confidence, details = await self._guess(sentence, patterns)
        else:
            intent, confidence, details = found.intent, _confidence(found), found.entities
        entities = [Entity(entity=name, value=value, confidence=_HIGHEST) for name, value in details.items()]
        if intent in _TIMED:
            entities = await self._with_time(entities, sentence, patterns.times)
        return Analysis(
            text=text, normalised=sentence.core.lower(), intent=intent, confidence=round(confidence, 3),
            entities=entities,
        )

    @operation(idempotent=True)
    async def list_intents(self) -> IntentList:
        """Return every label that `analyze` may answer."""
        return IntentList(intents=[*(await self._patterns()).grammar.intents, UNKNOWN])

    async def _patterns(self) -> Patterns:
        """Return the compiled patterns; they, like the classifier, wait for the first sentence."""
        return await self.load("patterns", read_patterns)

    async def _guess(self, sentence: Sentence, patterns: Patterns) -> tuple[str, float, dict[str, str]]:
        """Return intent, confidence and details of a sentence that fits no pattern."""
        if await self.check() is not None:
            return _by_shape(sentence)
        lines = await self.load("examples", read_examples)
        repaired = repair_first_word(sentence, patterns.repair)
        match = patterns.grammar.match(repaired) if repaired is not None else None
        if match is not None:
            return match.intent, _confidence(match), match.entities
        near = nearest_example(sentence.core, lines)
        if near is None:
            classifier = await self.load("classifier", lambda: trained(patterns.grammar, lines))
            near = await self.run(self._classified, classifier, sentence)
        sure = self.config.least_for_question if sentence.question else self.config.least_probability
        if near.probability < sure:
            return _by_shape(sentence)
        return near.label, _HIGHEST * near.probability, _details(near.label, sentence)

    def _classified(self, classifier: IntentClassifier, sentence: Sentence) -> Guess:
        # A question tells nothing, and what asks nothing is no question: the shape of the sentence decides that better.
        return classifier.predict(sentence.core, without=("remember" if sentence.question else "recall",))

    async def _with_time(self, entities: list[Entity], sentence: Sentence, times: SpokenTimes) -> list[Entity]:
        """Return `entities` with the time named in them, if any, cut out of the content."""
        if importlib.util.find_spec("dateparser") is None:
            return entities
        now = datetime.fromtimestamp(self.clock.time()).astimezone()
        rest = [each for each in entities if each.entity not in ("content", "when")]
        text = next((each.value for each in entities if each.entity in ("content", "when")), sentence.core)
        found = await self.run(times.find, text, now)
        if found is not None:
            rest.append(Entity(entity="time", value=found.moment.isoformat(timespec="seconds"), confidence=0.8))
            text = re.sub(r"\s+", " ", text.replace(found.phrase, " ", 1)).strip(" ,")
        content = re.sub(r"^(?:to|that|about|na|ng)\s+|\s+(?:at|on|by|in)$", "", text, flags=re.IGNORECASE)
        return [*rest, Entity(entity="content", value=content, confidence=_HIGHEST)] if content else rest


def read_patterns(path: Path = SHARED / "intents.yaml") -> Patterns:
    """Return the patterns in `path`, compiled."""
    book = IntentBook.model_validate(_read_yaml(path))
    return Patterns(IntentGrammar(book), SpokenTimes(book.times), book.repair)


def read_examples(path: Path = SHARED / "utterances.yaml") -> dict[str, list[str]]:
    """Return the example sentences in `path` by intent."""
    examples: dict[str, list[str]] = _read_yaml(path)  # type: ignore[assignment]  # its shape is tested
    return examples


def trained(grammar: IntentGrammar, examples: Mapping[str, Sequence[str]]) -> IntentClassifier:
    """Return a classifier of `examples`, each trimmed as a sentence to be analysed is."""
    return train({intent: [grammar.read(line).core for line in lines] for intent, lines in examples.items()})


def repair_first_word(sentence: Sentence, words: Sequence[str]) -> Sentence | None:
    """Return `sentence` with a first word that is nearly one of `words` put right, None if there is none."""
    from rapidfuzz import fuzz, process  # only sentences without a pattern need it

    first, _, rest = sentence.core.partition(" ")
    found = process.extractOne(first.lower(), words, scorer=fuzz.ratio, score_cutoff=80.0)
    if found is None or not rest or found[0] == first.lower():
        return None
    return replace(sentence, core=f"{found[0]} {rest}")


def nearest_example(text: str, examples: Mapping[str, Sequence[str]]) -> Guess | None:
    """Return the intent of the example that is nearly `text`, None if none is."""
    from rapidfuzz import fuzz, process  # only sentences without a pattern need it

    lines = [(line, intent) for intent, group in examples.items() for line in group]
    found = process.extractOne(text.lower(), [line.lower() for line, _ in lines], scorer=fuzz.ratio, score_cutoff=_NEAR)
    return Guess(lines[found[2]][1], found[1] / 100) if found is not None else None


def _confidence(match: Match) -> float:
    """Polite words around what was matched are no doubt about it."""
    return _HIGHEST * max(_POLITE_SHARE, match.coverage)


def _by_shape(sentence: Sentence) -> tuple[str, float, dict[str, str]]:
    """A question that is nothing else asks for something stored; a statement nobody understands stays unknown."""
    if sentence.question:
        return "recall", 0.5, {"query": sentence.query}
    return UNKNOWN, _NO_MATCH, {}


def _details(intent: str, sentence: Sentence) -> dict[str, str]:
    name = _CONTENT.get(intent)
    return {name: sentence.query if name == "query" else sentence.core} if name else {}


def _read_yaml(path: Path) -> object:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=loader)
