"""An agent of ordinary size, which the footprint benchmark copies under other names: models, events, state."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from benchmarks.agents.scoring import Grade, Sample, Trend, alike, verdict, words
from mesh import Agent, AgentConfig, InvalidArgument, every, operation, subscribe

Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1, le=1000)]
_ID = re.compile(r"^[a-z][a-z0-9_.-]{0,63}$")


class AssessorReading(BaseModel):
    """What a source said, from 0 to 1, and what it was about."""

    source: Name
    value: Share
    note: str = ""
    tags: list[str] = Field(default_factory=list, max_length=32)


class AssessorAssessment(BaseModel):
    """The score of a subject, its grade, and what it rests on."""

    subject: Name
    score: float | None
    grade: Grade
    sources: tuple[str, ...]


class AssessorTrend(BaseModel):
    """Where the values of one source go: mean, spread, and change per second."""

    source: str
    mean: float
    spread: float
    slope: float
    samples: int


class AssessorOverview(BaseModel):
    """All subjects, those first that were used last."""

    subjects: list[AssessorAssessment]
    kept: int


class AssessorChanged(BaseModel):
    """The event `assessor.changed`: a subject has another grade."""

    subject: str
    before: Grade
    now: Grade
    reason: Literal["reading", "sweep", "reset"] = "reading"


class Assessor(Agent):
    """Scores subjects by what several sources say of them, and tells when a grade changes."""

    class Config(AgentConfig):
        subjects: int = 200
        """Subjects kept; the one unused for longest goes when another comes."""
        weight: float = 4.0
        """How much less an unsteady source counts."""
        idle_s: float = 3600.0
        """Subjects unused for this long are let go of."""
        alike: float = 0.3
        """How alike two notes must be to be about the same."""

    config: Config

    async def setup(self) -> None:
        """Take up what was known before a restart."""
        known = await self.get_latest_state() or {}
        self._trends: OrderedDict[str, dict[str, Trend]] = OrderedDict()
        self._notes: dict[str, set[str]] = {}
        self._grades: dict[str, Grade] = dict(known.get("grades", {}))
        self._used: dict[str, float] = {}

    async def teardown(self) -> None:
        """Keep the grades for the next start."""
        await self._keep()

    @operation
    async def add(self, subject: Name, reading: AssessorReading) -> AssessorAssessment:
        """Take what a source says of a subject and return the subject's new score."""
        self._check(subject)
        trends = self._trends.setdefault(subject, {})
        trend = trends.setdefault(reading.source, Trend())
        trend.add(Sample(reading.source, reading.value, self.clock.monotonic()))
        self._notes.setdefault(subject, set()).update(words(reading.note))
        self._use(subject)
        return await self._assessed(subject, "reading")

    @operation(idempotent=True)
    async def assess(self, subject: Name) -> AssessorAssessment:
        """Return the score of a subject; one that nobody spoke of is `unknown`."""
        self._check(subject)
        result = verdict(list(self._trends.get(subject, {}).items()), self.config.weight)
        score = result.score if result.sources else None
        return AssessorAssessment(subject=subject, score=score, grade=result.grade, sources=result.sources)

    @operation(idempotent=True)
    async def trends(self, subject: Name, limit: Count = 20) -> list[AssessorTrend]:
        """Return where the sources of a subject go, the steadiest first."""
        self._check(subject)
        found = [
            AssessorTrend(source=name, mean=trend.mean(), spread=trend.spread(), slope=trend.slope(),
                          samples=len(trend.samples))
            for name, trend in self._trends.get(subject, {}).items()
        ]
        return sorted(found, key=lambda each: each.spread)[:limit]

    @operation(idempotent=True)
    async def overview(self, limit: Count = 50, grade: Grade | None = None) -> AssessorOverview:
        """Return the subjects used last, of one grade if it is given."""
        chosen = [subject for subject in reversed(self._trends) if grade in (None, self._grades.get(subject))]
        rows = [await self.assess(subject) for subject in chosen[:limit]]
        return AssessorOverview(subjects=rows, kept=len(self._trends))

    @operation(idempotent=True)
    async def similar(self, text: str, limit: Count = 5) -> dict[str, float]:
        """Return the subjects whose notes are like a text, and how much, the most alike first."""
        wanted = set(words(text))
        scores = {subject: alike(wanted, notes) for subject, notes in self._notes.items()}
        best = sorted(scores.items(), key=lambda item: -item[1])[:limit]
        return {subject: score for subject, score in best if score >= self.config.alike}

    @operation
    async def reset(self, subject: Name) -> None:
        """Forget a subject."""
        self._check(subject)
        if self._trends.pop(subject, None) is not None:
            await self._tell(subject, "unknown", "reset")
        self._forget(subject)

    @subscribe("interaction.completed")
    async def listen(self, event: dict[str, Any]) -> None:
        """Take each turn of a user as a note on its intent."""
        subject = str(event.get("intent", "unknown"))
        if _ID.match(subject):
            self._notes.setdefault(subject, set()).update(words(str(event.get("user_input", ""))))
            self._use(subject)

    @every(seconds=60)
    async def sweep(self) -> None:
        """Let go of subjects that nobody used for long."""
        oldest = self.clock.monotonic() - self.config.idle_s
        for subject in [name for name, used in self._used.items() if used <= oldest]:
            self._trends.pop(subject, None)
            self._forget(subject)

    def _check(self, subject: str) -> None:
        if not _ID.match(subject):
            raise InvalidArgument(f"{subject!r} is no subject: write it in small letters", path="subject")

    def _use(self, subject: str) -> None:
        self._used[subject] = self.clock.monotonic()
        if subject in self._trends:
            self._trends.move_to_end(subject)
        while len(self._trends) > self.config.subjects:
            self._forget(self._trends.popitem(last=False)[0])

    async def _assessed(self, subject: str, reason: Literal["reading", "sweep"]) -> AssessorAssessment:
        assessment = await self.assess(subject)
        if self._grades.get(subject, "unknown") != assessment.grade:
            await self._tell(subject, assessment.grade, reason)
        return assessment

    async def _tell(self, subject: str, now: Grade, reason: Literal["reading", "sweep", "reset"]) -> None:
        changed = AssessorChanged(subject=subject, before=self._grades.get(subject, "unknown"), now=now, reason=reason)
        self._grades[subject] = now
        await self.publish("assessor.changed", changed)
        await self._keep()

    def _forget(self, subject: str) -> None:
        for kept in (self._notes, self._grades, self._used):
            kept.pop(subject, None)

    async def _keep(self) -> None:
        await self.save_state({"grades": dict(self._grades)})
