"""The errors a host keeps: the last 1,000, numbered, in memory for readers and in SQLite for the next start.

`append` only gives a number and remembers; one thread writes to disk, in batches. Memory holds everything the file
holds, so readers never wait for the disk, and a full disk or a damaged file costs nothing while the process lives.

Numbers never repeat, also not after SIGKILL: `errors.mark` holds the highest number that may be in use and is raised
by a block ahead of use. It is a file of its own so that a damaged database does not take the count along. Only who
deletes the whole state folder starts at 1 again.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mesh.clock import Clock
from mesh.errorbus import NEW, ErrorDetail, ErrorGroup, Severity, Standing, group, make_id, number_of
from mesh.errors import StoreError
from mesh.supervisor.errors.errorstore import ErrorStore

KEEP = 1_000
BLOCK = 100
RETRY_S = 5.0

Tell = Callable[[Severity, str], None]


class ErrorLog:
    """The numbered errors of one host, stored below `folder` (its state folder); usable from any thread.

    `tell` hears, from the writing thread or inside `open`, once when storing stops and once when it works again, and
    whenever a damaged file was set aside; the caller makes a record of that. Records that cannot be stored stay in
    memory and are written when the disk takes them again, tried every `retry_s` seconds.
    """

    def __init__(self, folder: Path, host: str, tell: Tell, *, clock: Clock | None = None,
                 retry_s: float = RETRY_S) -> None:
        self.host = host
        self._tell = tell
        self._clock = clock or Clock()
        self._retry_s = retry_s
        self._store = ErrorStore(folder / "errors.db")
        self._mark = folder / "errors.mark"
        self._changed = threading.Condition()
        self._records: dict[int, ErrorDetail] = {}
        self._standings: dict[str, Standing] = {}
        self._counts: Counter[str] = Counter()
        self._unwritten: set[int] = set()
        self._standings_unwritten = False
        self._last = self._previous = self._reserved = 0
        self._failing = self._closing = self._begun_anew = False
        self._writer = threading.Thread(target=self._write_on, name=f"errors-{host}", daemon=True)

    def open(self) -> None:
        """Read what is stored and start writing; never raises for a bad disk or file, `tell` hears of it."""
        readable = self._load()
        with self._changed:
            self._previous = max(self._records, default=0)
            self._last = self._first_unused(readable) - 1
        try:
            self._reserve(self._last + BLOCK)
        except StoreError as error:
            self._in_trouble(error)
        self._writer.start()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left, for at most `timeout` seconds, and end the writing thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._writer.is_alive():
            self._writer.join(timeout)

    def append(self, record: ErrorDetail) -> ErrorDetail:
        """Return the record with its id, its number and what was skipped before it; it is stored soon after."""
        with self._changed:
            if self._last >= self._reserved and not self._failing:
                with suppress(StoreError):  # the writer meets the same trouble and tells it
                    self._reserve(self._last + 10 * BLOCK)
            number = self._last + 1
            numbered = record.model_copy(update={
                "id": make_id(self.host, number), "seq": number, "skipped": self._last - self._previous,
                **self._noticed(record.fingerprint),
            })
            self._last = self._previous = number
            self._keep(numbered)
            return numbered

    def decide(self, record_id: str, decision: str) -> bool:
        """Note what was done about an error; tell whether it is still kept."""
        number = number_of(record_id, self.host)
        with self._changed:
            record = self._records.get(number)
            if record is not None:
                self._keep(record.model_copy(update={"decision": decision}))
            return record is not None

    def judge(self, fingerprint: str, standing: Standing) -> ErrorGroup | None:
        """Have a group stand otherwise and return it, None if nothing of it is kept; then it may be muted all the same.
        """
        with self._changed:
            if standing.state == "muted" or self._counts[fingerprint]:
                self._judge(fingerprint, standing)
        return next((each for each in self.groups() if each.fingerprint == fingerprint), None)

    def one(self, record_id: str) -> ErrorDetail | None:
        """Return one error with all that is known of it, None if it is not kept any more."""
        number = number_of(record_id, self.host)
        with self._changed:
            return self._records.get(number)

    def since(self, record_id: str | None) -> list[ErrorDetail]:
        """Return what came after `record_id`, in order; all that is kept for None."""
        after = 0 if record_id is None else number_of(record_id, self.host)
        with self._changed:
            return [record for number, record in self._records.items() if number > after]

    def groups(
        self, *, service: str | None = None, severity: Severity | None = None, muted: bool = True,
        limit: int | None = None,
    ) -> list[ErrorGroup]:
        """Return the groups of one service and of at least a severity, the latest first; `muted` ones or not."""
        with self._changed:
            records, standings = list(self._records.values()), dict(self._standings)
        found = group((record for record in records if service in (None, record.service)), standings,
                      self._clock.time())
        return [each for each in found if (severity is None or each.severity.rank >= severity.rank)
                and (muted or each.state != "muted")][:limit]

    def count(self, since: float, severity: Severity = Severity.ERROR) -> int:
        """Return how many errors of at least `severity` came after the wall-clock time `since`."""
        with self._changed:
            return sum(1 for record in self._records.values()
                       if record.time > since and record.severity.rank >= severity.rank)

    # --- memory, under the lock --------------------------------------------------------------------------------------

    def _noticed(self, fingerprint: str) -> dict[str, bool]:
        """Return what a new record is to its group; one that was acknowledged, or is muted no longer, opens anew."""
        standing = self._standings.get(fingerprint, NEW)
        muted = standing.at(self._clock.time()) == "muted"
        if standing is not NEW and not muted:
            self._judge(fingerprint, NEW)
        return {"muted": muted, "opens": not muted and (standing is not NEW or not self._counts[fingerprint])}

    def _keep(self, record: ErrorDetail) -> None:
        if record.seq not in self._records:
            self._counts[record.fingerprint] += 1
        self._records[record.seq] = record
        self._unwritten.add(record.seq)
        if len(self._records) > KEEP:
            oldest = next(iter(self._records))
            gone = self._records.pop(oldest)
            self._counts[gone.fingerprint] -= 1
            if not self._counts[gone.fingerprint]:
                del self._counts[gone.fingerprint]
            self._unwritten.discard(oldest)
        self._changed.notify()

    def _judge(self, fingerprint: str, standing: Standing) -> None:
        if standing.state == "new":
            self._standings.pop(fingerprint, None)
        else:
            self._standings[fingerprint] = standing
        self._standings_unwritten = True
        self._changed.notify()

    # --- disk --------------------------------------------------------------------------------------------------------

    def _load(self) -> bool:
        """Read the file into memory; tell whether what it held is known now."""
        try:
            records, self._standings = self._store.load()
            self._records = {record.seq: record for record in records}
            self._counts = Counter(record.fingerprint for record in records)
            return True
        except StoreError as error:
            self._in_trouble(error)
            return False

    def _first_unused(self, readable: bool) -> int:
        """Return a number no earlier process used: past the mark, or past anything thinkable if there is no telling."""
        try:
            return max(int(self._mark.read_text()), self._previous) + 1
        except FileNotFoundError:
            return self._previous + 1 if readable else int(self._clock.time())
        except (OSError, ValueError):
            return int(self._clock.time())

    def _reserve(self, number: int) -> None:
        """Move the mark; raises `StoreError`. Not synced: SIGKILL takes nothing back that was written."""
        fresh = self._mark.with_name(self._mark.name + ".new")
        try:
            fresh.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(str(number))
            os.replace(fresh, self._mark)
        except OSError as error:
            raise StoreError(f"{self._mark} cannot be written: {error}", damaged=False) from None
        self._reserved = number

    def _write_on(self) -> None:
        """Write whatever is new until closed; after a failure wait before trying again."""
        while True:
            with self._changed:
                if self._failing:
                    self._changed.wait_for(lambda: self._closing, self._retry_s)
                self._changed.wait_for(lambda: self._unwritten or self._standings_unwritten or self._closing)
                closing = self._closing
            try:
                self._write(closing)
            except StoreError as error:
                again = self._in_trouble(error)
            else:
                again = False
                self._recovered()
            if closing and not again:
                self._store.close()
                return

    def _write(self, closing: bool) -> None:
        with self._changed:
            records = [self._records[number] for number in sorted(self._unwritten)]
            standings = dict(self._standings)
            # A clean end leaves no number set aside; otherwise the next block is there before it is needed.
            if closing:
                self._reserve(self._last)
            elif self._reserved - self._last < BLOCK // 2:
                self._reserve(self._last + BLOCK)
        self._store.write(records, standings, KEEP)
        with self._changed:
            self._standings_unwritten = self._standings != standings
            for record in records:
                if self._records.get(record.seq) is record:
                    self._unwritten.discard(record.seq)

    def _in_trouble(self, error: StoreError) -> bool:
        """Set a damaged file aside, or say that storing stopped; tell whether to try again at once."""
        if error.details["damaged"] and not self._begun_anew:
            with suppress(StoreError):
                aside = self._store.set_aside()
                with self._changed:
                    self._unwritten |= set(self._records)
                    self._begun_anew = self._standings_unwritten = True
                self._tell(Severity.ERROR, f"{error}; it was set aside as {aside.name} and a new one begun")
                return True
        if not self._failing:
            self._failing = True
            self._tell(Severity.CRITICAL, f"{error}; the last {KEEP:,} errors are kept in memory only: free space or "
                       f"make {self._mark.parent} writable, it is tried again every {self._retry_s:g} s")
        return False

    def _recovered(self) -> None:
        self._begun_anew = False
        if self._failing:
            self._failing = False
            self._tell(Severity.INFO, f"{self._store.path} is written again, nothing of the last {KEEP:,} is missing")
