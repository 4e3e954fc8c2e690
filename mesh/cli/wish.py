"""What a command line wants of one call beside its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.errors import InvalidArgument, UsageError

if TYPE_CHECKING:
    from mesh.policy.options import CallOptions


@dataclass(frozen=True, slots=True)
class Wish:
    """`--to`, `--balance`, `--key` and `--retry` as they were given."""

    place: str | None = None
    balance: str | None = None
    key: str | None = None
    attempts: int | None = None

    def options(self) -> CallOptions:
        """Return them as options of a call; raises `UsageError` for what no call can want."""
        from mesh.policy.options import CallOptions  # needs msgpack and pydantic, which `mesh --help` does not

        if self.attempts is not None and self.attempts < 1:
            raise UsageError(f"--retry is {self.attempts}; give the number of attempts, 1 for no second one")
        try:
            return CallOptions(self.place, self.balance, self.key, self.attempts)
        except InvalidArgument as error:
            raise UsageError(error.message) from None
