"""The gatekeeper of risky commands: yes or no with a reason, a limit on repeated tries, and a record of every try."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Annotated, Any

from pydantic import BaseModel, Field

from mesh import AgentConfig, DataAgent, PermissionDenied, operation

_HOUR = 3600.0
_DAY = 24 * _HOUR
_LOCKED = "locked_out"
# Times are seconds since 1970, which know no time zone. `rule` is empty for a command that was let through.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS validation_history (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, command TEXT NOT NULL, parameters TEXT NOT NULL,
    user_id TEXT NOT NULL, profile TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS validation_tries ON validation_history (user_id, profile, command, time);
"""


class CommandPattern(BaseModel):
    """A command that may be asked for, what it needs, and how risky it is (1 to 5)."""

    command: str
    required_params: list[str]
    risk_level: int
    description: str


class CommandPatterns(BaseModel):
    """Every command that may be let through; any other is refused."""

    patterns: list[CommandPattern]


class Validation(BaseModel):
    """One try; `timestamp` is ISO 8601 in UTC."""

    command: str
    parameters: dict[str, Any]
    result: bool
    reason: str
    timestamp: str


class ValidationHistory(BaseModel):
    """Tries, newest first."""

    history: list[Validation]


PATTERNS: Mapping[str, CommandPattern] = {
    name: CommandPattern(command=name, required_params=parameters, risk_level=risk, description=description)
    for name, parameters, risk, description in (
        ("delete_file", ["file_path"], 3, "Delete a file"),
        ("modify_system", ["component", "action"], 4, "Change a part of the system"),
        ("access_credentials", ["service", "action"], 5, "Read or change a login"),
        ("execute_system_command", ["command", "parameters"], 4, "Run a program"),
        ("modify_permissions", ["user", "permission"], 5, "Change what a user may do"),
        ("access_sensitive_data", ["data_type", "purpose"], 4, "Read personal data"),
    )
}


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a user tried a command: in the last hour, and in vain in the last day.

    Tries refused because of the lock itself are in neither, so knocking does not prolong it.
    """

    in_hour: int
    failed_in_day: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a command is refused; `rule` and `reason` are empty when it is let through."""

    rule: str = ""
    reason: str = ""


class IntentionValidator(DataAgent):
    """Says whether a risky command may be carried out, limits repeated tries, and keeps a record of all of them."""

    class Config(AgentConfig):
        database: Path = Path("intention_validation.db")
        tries_per_hour: int = 10
        failures_per_day: int = 5
        highest_risk: dict[str, int] = Field(default={"admin": 5, "premium": 3, "standard": 3, "guest": 1})
        """The highest risk each profile may take; a profile that is not listed may take none."""

    config: Config

    async def setup(self) -> None:
        """Open the record of tries."""
        self._database = self.database(self.config.database, schema=_SCHEMA)
        await self._database.query("SELECT COUNT(*) FROM validation_history")

    @operation
    async def validate_command(
        self, command: str, parameters: dict[str, Any] | None = None, user_id: str = "default",
        profile: str = "standard",
    ) -> None:
        """Return when the command may be carried out; raises `PermissionDenied` with the rule and the reason otherwise.

        Without a readable and writable record nothing is let through.
        """
        now, given = self.clock.time(), parameters or {}

        def decide(connection: Connection) -> Verdict:
            tries = _tries(connection, command, user_id, profile, now)
            verdict = judge(command, given, profile, tries, self.config)
            connection.execute(
                "INSERT INTO validation_history (time, command, parameters, user_id, profile, rule, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, command, json.dumps(given, default=repr), user_id, profile, verdict.rule, verdict.reason),
            )
            return verdict

        try:
            verdict = await self._database.write(decide)
        except Exception as error:
            await self.report(error, command=command, user_id=user_id)
            raise PermissionDenied(
                f"{command} is refused: the record of earlier tries cannot be used ({error})", rule="no_record"
            ) from error
        if verdict.rule:
            raise PermissionDenied(f"{command} is refused: {verdict.reason}", rule=verdict.rule)

    @operation(idempotent=True)
    async def get_validation_history(
        self, user_id: str | None = None, profile: str | None = None, limit: Annotated[int, Field(ge=1, le=1000)] = 10
    ) -> ValidationHistory:
        """Return the last tries, of one user or profile if given, newest first."""
        rows = await self._database.query(
            "SELECT * FROM validation_history WHERE (:user IS NULL OR user_id = :user)"
            " AND (:profile IS NULL OR profile = :profile) ORDER BY id DESC LIMIT :limit",
            {"user": user_id, "profile": profile, "limit": limit},
        )
        return ValidationHistory(history=[
            Validation(
                command=row["command"], parameters=json.loads(row["parameters"]), result=not row["rule"],
                reason=row["reason"], timestamp=datetime.fromtimestamp(row["time"], UTC).isoformat(),
            )
            for row in rows
        ])

    @operation(idempotent=True)
    async def list_command_patterns(self) -> CommandPatterns:
        """Return every command that may be let through, with what it needs and its risk."""
        return CommandPatterns(patterns=list(PATTERNS.values()))


def judge(
    command: str, parameters: Mapping[str, Any], profile: str, tries: Tries, config: IntentionValidator.Config
) -> Verdict:
    """Return the first rule that refuses the command, or an empty verdict."""
    pattern = PATTERNS.get(command)
    if tries.failed_in_day > config.failures_per_day:
        return Verdict(_LOCKED, f"{tries.failed_in_day} tries failed within a day; wait until the first is a day old")
    if tries.in_hour >= config.tries_per_hour:
        return Verdict(_LOCKED, f"{tries.in_hour} tries within an hour; wait until the first is an hour old")
    if pattern is None:
        return Verdict("unknown_command", f"it is not one of the known commands {', '.join(PATTERNS)}")
    missing = [name for name in pattern.required_params if name not in parameters]
    if missing:
        return Verdict("missing_parameters", f"it needs {', '.join(missing)}")
    allowed = config.highest_risk.get(profile, 0)
    if pattern.risk_level > allowed:
        return Verdict("risk", f"its risk is {pattern.risk_level}, and profile {profile} may take up to {allowed}")
    return Verdict()


def _tries(connection: Connection, command: str, user_id: str, profile: str, now: float) -> Tries:
    row = connection.execute(
        "SELECT COALESCE(SUM(time > :hour), 0), COALESCE(SUM(rule != ''), 0) FROM validation_history"
        " WHERE user_id = :user AND profile = :profile AND command = :command AND time > :day AND rule != :locked",
        {"hour": now - _HOUR, "day": now - _DAY, "user": user_id, "profile": profile, "command": command,
         "locked": _LOCKED},
    ).fetchone()
    return Tries(int(row[0]), int(row[1]))
