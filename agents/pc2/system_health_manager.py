"""Gathers every agent's errors in one place, sees which belong together, and advises what to do about them."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, Literal

from agents_pc2.error_patterns import ErrorPatterns, Sighting
from pydantic import BaseModel, Field

from mesh import AgentConfig, DataAgent, MeshError, every, operation, subscribe

Severity = Literal["debug", "info", "warning", "error", "critical"]
MEMORY = (
    "memory_orchestrator", "memory_client", "session_memory", "knowledge_base", "cache_manager", "context_manager",
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS errors (
    number INTEGER PRIMARY KEY AUTOINCREMENT, error_id TEXT NOT NULL UNIQUE, time REAL NOT NULL, agent TEXT NOT NULL,
    host TEXT NOT NULL, error_type TEXT NOT NULL, message TEXT NOT NULL, severity TEXT NOT NULL, details TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS recovery_actions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, agent TEXT NOT NULL, action TEXT NOT NULL,
    reason TEXT NOT NULL, outcome TEXT NOT NULL
);
"""
_COLUMNS = "error_id, time, agent, host, error_type, message, severity, details"


class ErrorSeen(BaseModel):
    """An error on its way over the error bus."""

    id: str
    time: float
    severity: Severity
    host: str
    service: str
    operation: str | None = None
    type: str
    message: str
    trace_id: str | None = None


class KeptError(BaseModel):
    """An error as it is kept; `time` is wall-clock seconds."""

    error_id: str
    time: float
    agent: str
    host: str
    error_type: str
    message: str
    severity: Severity
    details: dict[str, Any]


class RecentErrors(BaseModel):
    """Errors, newest first."""

    errors: list[KeptError]


class ErrorReported(BaseModel):
    """The id under which an error is kept."""

    error_id: str


class RelatedPair(BaseModel):
    """Two agents whose errors came less than a minute apart, and how often."""

    agents: tuple[str, str]
    times: int


class SystemStatus(BaseModel):
    """The state of each memory service, how many errors of each severity are kept, and which agents fail together."""

    memory_system: dict[str, str]
    errors: dict[str, int]
    related: list[RelatedPair]
    late: list[str]


class Recovery(BaseModel):
    """The event `health.recovery`: what should be done about an agent; it is advice, nothing was done."""

    agent: str
    action: Literal["restart", "inspect"]
    outcome: Literal["advised", "recovered", "still_failing"]
    reason: str
    related: list[str]
    time: float


class SystemHealthManager(DataAgent):
    """Watches the memory services and gathers all errors, sees which belong together, and advises what to do."""

    class Config(AgentConfig):
        database: Path = Path("error_system.db")
        kept: int = 10_000
        related_s: float = 60.0
        """Errors of different agents less than this apart are related."""
        burst: int = 5
        """So many errors of one agent within `related_s` are advised on; a critical one is at once."""
        quiet_s: float = 300.0
        """No second advice on the same agent within this time."""
        late_s: float = 45.0
        """After this long without a heartbeat something outside the mesh is late."""

    config: Config

    async def setup(self) -> None:
        """Open the store."""
        self._database = self.database(self.config.database, schema=_SCHEMA)
        await self._database.query("SELECT COUNT(*) FROM errors")
        self._patterns = ErrorPatterns(self.config.related_s, self.config.burst, self.config.quiet_s)
        self._heartbeats: OrderedDict[str, float] = OrderedDict()
        self._advised: dict[str, Recovery] = {}

    @subscribe("errors.#")
    async def note(self, error: ErrorSeen) -> None:
        """Keep an error of the bus and advise when it is critical or one of many."""
        if error.service == self.service:
            return  # an error while keeping errors must not come back here for ever
        await self._keep(KeptError(
            error_id=error.id, time=error.time, agent=error.service, host=error.host, error_type=error.type,
            message=error.message, severity=error.severity,
            details={"operation": error.operation, "trace_id": error.trace_id},
        ))

    @operation(idempotent=True)
    async def get_system_status(self) -> SystemStatus:
        """Return how the memory services are, and what is known of errors."""
        counted = await self._database.query("SELECT severity, COUNT(*) AS count FROM errors GROUP BY severity")
        now = self.clock.monotonic()
        return SystemStatus(
            memory_system=await self._states(MEMORY),
            errors={row["severity"]: row["count"] for row in counted},
            related=[RelatedPair(agents=pair, times=times) for pair, times in self._patterns.related()],
            late=[name for name, heard in self._heartbeats.items() if now - heard > self.config.late_s],
        )

    @operation
    async def report_error(
        self, agent: str, error_type: str, message: str, severity: Severity = "error",
        details: dict[str, Any] | None = None,
    ) -> ErrorReported:
        """Keep an error that something outside the mesh tells of, and put it on the error bus."""
        number = await self._database.query("SELECT COALESCE(MAX(number), 0) + 1 AS next FROM errors")
        kept = KeptError(
            error_id=f"{self.service}-{number[0]['next']:06d}", time=self.clock.time(), agent=agent, host=self.host,
            error_type=error_type, message=message, severity=severity, details=details or {},
        )
        await self._keep(kept)
        await self.report(message, severity=severity, agent=agent, error_type=error_type, error_id=kept.error_id)
        return ErrorReported(error_id=kept.error_id)

    @operation(idempotent=True)
    async def get_recent_errors(
        self, limit: Annotated[int, Field(ge=1, le=1000)] = 100, severity: Severity | None = None
    ) -> RecentErrors:
        """Return the last errors, newest first, of one severity if given."""
        rows = await self._database.query(
            f"SELECT {_COLUMNS} FROM errors WHERE :severity IS NULL OR severity = :severity"
            " ORDER BY time DESC, number DESC LIMIT :limit", {"severity": severity, "limit": limit},
        )
        return RecentErrors(errors=[KeptError(**{**row, "details": json.loads(row["details"])}) for row in rows])

    @operation(idempotent=True)
    async def heartbeat(self, agent_name: str) -> None:
        """Note a sign of life of something outside the mesh; agents of the mesh need none."""
        self._heartbeats[agent_name] = self.clock.monotonic()
        self._heartbeats.move_to_end(agent_name)
        if len(self._heartbeats) > self.config.kept:
            self._heartbeats.popitem(last=False)

    @every(seconds=60)
    async def follow_up(self) -> None:
        """Tell what became of the agents that advice was given on, and forget errors beyond what is kept."""
        advised, self._advised = self._advised, {}
        states = await self._states(tuple(advised)) if advised else {}
        for agent, recovery in advised.items():
            failing = self._patterns.failing(agent, self.clock.monotonic())
            well = states.get(agent) in ("ready", "degraded") and not failing
            outcome: Literal["recovered", "still_failing"] = "recovered" if well else "still_failing"
            await self._tell(recovery.model_copy(update={"outcome": outcome, "time": self.clock.time()}))
        await self._database.execute(
            "DELETE FROM errors WHERE number <= (SELECT MAX(number) FROM errors) - ?", (self.config.kept,)
        )

    async def _keep(self, error: KeptError) -> None:
        await self._database.execute(
            f"INSERT OR IGNORE INTO errors ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (error.error_id, error.time, error.agent, error.host, error.error_type, error.message, error.severity,
             json.dumps(error.details, default=repr)),
        )
        advice = self._patterns.see(Sighting(error.agent, error.severity), self.clock.monotonic())
        if advice is not None:
            recovery = Recovery(
                agent=error.agent, action=advice.action, outcome="advised", reason=advice.reason,
                related=list(advice.related), time=self.clock.time(),
            )
            self._advised[error.agent] = recovery
            await self._tell(recovery)

    async def _tell(self, recovery: Recovery) -> None:
        await self._database.execute(
            "INSERT INTO recovery_actions (time, agent, action, reason, outcome) VALUES (?, ?, ?, ?, ?)",
            (recovery.time, recovery.agent, recovery.action, recovery.reason, recovery.outcome),
        )
        await self.publish("health.recovery", recovery)

    async def _states(self, services: tuple[str, ...]) -> dict[str, str]:
        """Return the state of each service as the directory has it; `absent` when no host offers it."""
        try:
            table = await self.request("supervisor.directory", timeout=2.0)
        except MeshError as error:
            return dict.fromkeys(services, f"unknown: {error.message}")
        known = {each["service"]: str(each["state"]) for each in table["instances"]}
        return {service: known.get(service, "absent") for service in services}
