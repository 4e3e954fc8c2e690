"""Invented people, things and facts about them, and the questions that ask for them; all from one seed."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

PHRASINGS = Path(__file__).parent / "phrasings"
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
LISTS: dict[str, str] = {
    "colour": "teal|crimson|mauve|turquoise|ochre|lavender|burgundy|emerald|amber|navy blue|charcoal|coral",
    "job": "welder|beekeeper|notary|glassblower|baker|surveyor|dentist|plumber|translator|pilot|librarian|carpenter",
    "food": "peanuts|shellfish|strawberries|walnuts|eggs|mustard|celery|sesame|gluten|kiwis|soy|cashews",
    "instrument": "cello|trombone|banjo|harp|oboe|accordion|drums|viola|flute|saxophone|mandolin|bagpipes",
    "drink": "mint tea|root beer|espresso|apple juice|oat milk|ginger ale|red wine|hot cocoa|lemonade|cider",
    "brand": "Velmo Spark|Tarnik 500|Orvel Comet|Brasko Van|Quillon GT|Modar Sprint|Zentra Duo|Halvex Roamer",
    "language": "Portuguese|Swahili|Icelandic|Tagalog|Welsh|Hungarian|Korean|Basque|Finnish|Urdu",
    "fear": "spiders|heights|thunder|clowns|deep water|snakes|moths|needles|the dark|elevators",
    "hobby": "birdwatching|woodcarving|kite flying|pottery|fencing|stargazing|knitting|rock climbing|origami|fishing",
    "title": "The Glass Orchard|Nine Quiet Rivers|A Map of Salt|The Copper Heron|Winter Engines|The Last Lantern",
    "spot": "attic|garden shed|blue cupboard|cellar|glove compartment|top drawer|hallway closet|garage|pantry",
    "material": "oak|brass|porcelain|copper|granite|bamboo|wool|steel|leather|glass",
    "dish": "mushroom risotto|lentil soup|fish tacos|apple pie|beef stew|pumpkin curry|potato dumplings|onion tart",
    "sport": "handball|curling|badminton|rowing|judo|volleyball|archery|water polo",
    "subject": "marine biology|economics|astronomy|law|medieval history|chemistry|architecture|linguistics",
    "animal": "ferret|hamster|tortoise|iguana|goat|canary|rabbit|snake",
    "medicine": "Tramolin|Orvex|Bentazil|aspirin|Quillox",
    "blood type": "A positive|O negative|AB positive|B negative",
    "part": "hinge|lens|handle|switch|hose",
    "length": "4 metres|12 metres|80 centimetres|3 feet",
    "fuel": "diesel|ethanol|petrol|hydrogen",
    "flower": "tulips|orchids|peonies|sunflowers",
    "icecream": "pistachio|vanilla|hazelnut|mango",
    "weekday": "Monday|Tuesday|Thursday|Friday|Saturday",
    "injury": "left ankle|right wrist|collarbone",
    "condition": "asthma|migraine|diabetes",
    "band": "The Velvet Otters|Nine Lanterns|Paper Comets",
    "game": "chess|backgammon|poker|dominoes",
    "award": "Golden Quill|Silver Anchor|Blue Ribbon",
    "sauce": "chili oil|honey mustard|garlic sauce",
    "transport": "by tram|by bicycle|by bus|on foot|by ferry|by train",
}
SYLLABLES = (
    "bra", "kel", "mo", "tar", "vin", "zor", "qui", "la", "ned", "pho", "mi", "rel", "da", "os", "ga", "thu", "ne",
    "ri", "xan", "vel", "dor", "fi", "lum", "pra", "sto", "wen", "jor", "ka", "eb",
)  # fmt: skip
ENDINGS = ("x", "n", "th", "ra", "l", "sk", "na", "m", "d", "ri", "ck", "s")
KIN = (
    "sister",
    "brother",
    "mother",
    "father",
    "aunt",
    "uncle",
    "cousin",
    "boss",
    "neighbour",
    "best friend",
    "grandmother",
)
OBJECTS = (
    "telescope",
    "boat",
    "clock",
    "lamp",
    "camera",
    "tractor",
    "printer",
    "violin case",
    "safe",
    "laptop",
    "tent",
)


@dataclass(frozen=True)
class Relation:
    """One thing that can be told: how it is stated, how it is asked for, and what kind of value it has."""

    name: str
    value: str
    statements: Sequence[str]
    questions: Sequence[str]


@dataclass(frozen=True)
class Subject:
    """Who or what a fact is about: as its owner says it, and the same as a possessive."""

    text: str

    @property
    def possessive(self) -> str:
        """Return "Mirel's" for "Mirel", "my boss's" for "my boss"."""
        return self.text + "'s"


@dataclass(frozen=True)
class Fact:
    """A value that one user told of one subject."""

    user: str
    subject: Subject
    relation: Relation
    value: str

    def state(self, random: Random) -> str:
        """Return one of the ways to tell it."""
        return self._fill(random.choice(self.relation.statements))

    def ask(self, random: Random) -> str:
        """Return one of the ways to ask for it."""
        text = self._fill(random.choice(self.relation.questions))
        return text[0].upper() + text[1:]

    def _fill(self, form: str) -> str:
        return form.replace("{s}", self.subject.text).replace("{p}", self.subject.possessive).replace("{v}", self.value)


@dataclass(frozen=True)
class Question:
    """A question of one user; `expected` is None when nobody told that user."""

    user: str
    text: str
    expected: str | None
    kind: str
    others: tuple[str, ...] = ()


@dataclass
class World:
    """What is told (user, text), in order, and what is asked afterwards."""

    told: list[tuple[str, str]] = field(default_factory=list)
    distractors: list[tuple[str, str]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


class Inventor:
    """Makes names and values nobody has heard of; never the same name twice."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._names: set[str] = set()

    def name(self, syllables: int = 2) -> str:
        """Return a new invented name."""
        while True:
            parts = [self.random.choice(SYLLABLES) for _ in range(syllables)]
            name = ("".join(parts) + self.random.choice(ENDINGS)).capitalize()
            if name not in self._names:
                self._names.add(name)
                return name

    def person(self) -> str:
        """Return a first and a last name."""
        return f"{self.name()} {self.name()}"

    def value(self, kind: str) -> str:
        """Return a value of a kind: one of a list, or made of digits or syllables."""
        random = self.random
        if kind in LISTS:
            return random.choice(LISTS[kind].split("|"))
        match kind:
            case "date":
                return f"{random.choice(MONTHS)} {random.randint(1, 28)}"
            case "time":
                return f"{random.randint(1, 11)}:{random.choice(('15', '30', '45'))} {random.choice(('am', 'pm'))}"
            case "year":
                return str(random.randint(1890, 2019))
            case "price":
                return f"{random.randint(12, 4000)} dollars"
            case "weight":
                return f"{random.randint(2, 900)} kilos"
            case "height":
                return f"{random.randint(140, 210)} centimetres"
            case "shoe":
                return str(random.randint(34, 48))
            case "count":
                return str(random.randint(2, 60))
            case "phone":
                return f"0{random.randint(100, 999)} {random.randint(100000, 999999)}"
            case "code":
                return f"{random.choice('KQXZ')}{random.randint(1000, 9999)}{random.choice('abc')}"
            case "company":
                return f"{self.name()} {random.choice(('Industries', 'Works', 'Limited', 'Brothers'))}"
            case "name":
                return self.person()
            case _:
                return self.name()


@dataclass(frozen=True)
class Phrasings:
    """A set of relations and of sentences that tell nothing one could ask for."""

    people: Sequence[Relation]
    things: Sequence[Relation]
    sentences: Sequence[str]


def phrasings(name: str) -> Phrasings:
    """Return the set in `phrasings/<name>.toml`."""
    with (PHRASINGS / f"{name}.toml").open("rb") as file:
        data = tomllib.load(file)
    people, things = ([Relation(**each) for each in data[group]] for group in ("people", "things"))
    return Phrasings(people, things, data["sentences"])


class Writer:
    """Writes a world: facts, distractors about similar people and relations, and the questions."""

    def __init__(self, seed: int, phrasings: Phrasings) -> None:
        self.random = Random(seed)
        self.inventor = Inventor(self.random)
        self.phrasings = phrasings

    def world(self, users: Sequence[str], facts: int, distractors: int, unknown: int) -> World:
        """Return a world with as many `facts`, `distractors` and questions nobody can answer as asked."""
        world, told = World(), list[Fact]()
        for number in range(facts):
            fact = self._new_fact(users[number % len(users)], told)
            told.append(fact)
            world.told.append((fact.user, fact.state(self.random)))
            world.questions.append(Question(fact.user, fact.ask(self.random), fact.value, "known"))
        known = {(fact.user, fact.subject, fact.relation.name) for fact in told}
        for number in range(distractors):
            world.distractors.append(self._distractor(users, told, known, number))
        for number in range(unknown):
            world.questions.append(self._unanswerable(users, told, known, number))
        return world

    def _new_fact(self, user: str, told: list[Fact]) -> Fact:
        taken = {(fact.subject, fact.relation.name) for fact in told if fact.user == user}
        while True:
            subject, relations = self._subject([fact.subject for fact in told if fact.user == user])
            relation = self.random.choice(list(relations))
            if (subject, relation.name) not in taken:
                return Fact(user, subject, relation, self.inventor.value(relation.value))

    def _subject(self, known: list[Subject]) -> tuple[Subject, Sequence[Relation]]:
        kind = self.random.random()
        if kind < 0.25:
            return Subject(f"my {self.random.choice(KIN)}"), self.phrasings.people
        if kind < 0.55:
            return Subject(self.inventor.person()), self.phrasings.people
        people = [subject for subject in known if subject.text[0].isupper()]
        if kind < 0.7 and people:
            return self.random.choice(people), self.phrasings.people
        return Subject(f"the {self.inventor.name()} {self.random.choice(OBJECTS)}"), self.phrasings.things

    def _similar(self, subject: Subject) -> Subject:
        """Return somebody or something else that shares a word with `subject`."""
        words = subject.text.split()
        if words[0] == "my":
            return Subject(
                self.random.choice((f"{self.inventor.name()}'s {' '.join(words[1:])}", f"{subject.text}'s friend"))
            )
        if words[0] == "the":
            return Subject(f"the {self.inventor.name()} {' '.join(words[2:])}")
        return Subject(
            self.random.choice(
                (
                    f"{words[0]} {self.inventor.name()}",
                    f"{self.inventor.name()} {words[1]}",
                    f"{subject.text}'s {self.random.choice(KIN)}",
                )
            )
        )

    def _relations(self, subject: Subject) -> Sequence[Relation]:
        return self.phrasings.things if subject.text.startswith("the ") else self.phrasings.people

    def _distractor(
        self, users: Sequence[str], told: list[Fact], known: set[tuple[str, Subject, str]], number: int
    ) -> tuple[str, str]:
        fact = self.random.choice(told)
        kind = number % 4
        if kind == 0:  # the same relation of somebody similar
            other = Fact(
                fact.user, self._similar(fact.subject), fact.relation, self.inventor.value(fact.relation.value)
            )
            return other.user, other.state(self.random)
        if kind == 1:  # another relation of the same subject
            relation = self.random.choice(list(self._relations(fact.subject)))
            if (fact.user, fact.subject, relation.name) not in known:
                known.add((fact.user, fact.subject, relation.name))
                return fact.user, Fact(fact.user, fact.subject, relation, self.inventor.value(relation.value)).state(
                    self.random
                )
        if kind == 2:  # the same subject and relation, told by another user
            user = self.random.choice([user for user in users if user != fact.user])
            if (user, fact.subject, fact.relation.name) not in known:
                known.add((user, fact.subject, fact.relation.name))
                return user, Fact(user, fact.subject, fact.relation, self.inventor.value(fact.relation.value)).state(
                    self.random
                )
        form = self.random.choice(list(self.phrasings.sentences))
        thing = f"the {self.inventor.name()} {self.random.choice(OBJECTS)}"
        who = fact.subject.text if self.random.random() < 0.5 else self.inventor.person()
        return self.random.choice(list(users)), form.replace("{n}", who).replace("{t}", thing)

    def _unanswerable(
        self, users: Sequence[str], told: list[Fact], known: set[tuple[str, Subject, str]], number: int
    ) -> Question:
        while True:
            fact = self.random.choice(told)
            kind = ("untold", "stranger", "leak")[number % 3]
            if kind == "stranger":
                subject = Subject(self.inventor.person())
                asked = Fact(fact.user, subject, self.random.choice(list(self.phrasings.people)), "")
                return Question(fact.user, asked.ask(self.random), None, kind)
            if kind == "untold":
                relation = self.random.choice(list(self._relations(fact.subject)))
                if (fact.user, fact.subject, relation.name) in known:
                    continue
                return Question(fact.user, Fact(fact.user, fact.subject, relation, "").ask(self.random), None, kind)
            user = self.random.choice([user for user in users if user != fact.user])
            if (user, fact.subject, fact.relation.name) in known:
                continue
            return Question(user, fact.ask(self.random), None, kind, (fact.value,))
