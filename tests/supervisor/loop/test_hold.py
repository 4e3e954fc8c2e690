"""What counts as holding the loop is decided from readings alone."""

from __future__ import annotations

from mesh.supervisor.loop.hold import LATE, LIMIT, Hold, Holds, Kind, Place, Reading, Stand, Step

SPIN = Place("spinner", "spin", "spin", "agents/spinner.py", 12)
ELSEWHERE = Place("spinner", "spin", "other", "agents/spinner.py", 30)
STEP = 0.1
"""Seconds between two samples."""

THREAD = Place("painter", None, "paint", "agents/painter.py", 7)


class Loop:
    """A loop's thread whose clocks the test turns; every sample is kept in `told`."""

    def __init__(self, *, tells_cpu: bool = True) -> None:
        self.holds = Holds()
        self.told: list[Hold] = []
        self._at = 100.0
        self._cpu = 5.0
        self._queued = 1.0
        self._tells_cpu = tells_cpu
        self.sample(None)

    @property
    def now(self) -> float:
        return self._at

    def reading(self, others: float = 0.0, missed: float = 0.0) -> Reading:
        return Reading(self._at, self._cpu if self._tells_cpu else None, self._queued, others, missed)

    def go_on(self, seconds: float, *, cpu: float = 0.0, queued: float = 0.0) -> None:
        self._at += seconds
        self._cpu += cpu
        self._queued += queued

    def sample(self, stand: Stand | None, rival: Place | None = None, **reading: float) -> list[Hold]:
        found = self.holds.seen(self.reading(**reading), stand, rival)
        self.told += found
        return found

    def work(self, stand: Stand, samples: int, *, cpu: float = 0.0, queued: float = 0.0, others: float = 0.0) -> None:
        """Take samples while a callback runs that computes or queues for this share of the time."""
        for _ in range(samples):
            self.go_on(STEP, cpu=STEP * cpu, queued=STEP * queued)
            self.sample(stand, others=others)

    def end(self, stand: Stand, **reading: float) -> list[Hold]:
        assert stand.began is not None
        return self.holds.ended(Step(ELSEWHERE, stand.step, stand.began, self.reading()), self.reading(**reading))


def billed(began: float, place: Place = SPIN, spot: object = "here") -> Stand:
    return Stand(place, ("step", began), began, spot)


def test_a_callback_that_computes_over_the_limit_holds_the_loop_and_its_end_says_for_how_long() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 2, cpu=1.0)
    assert loop.told == []
    loop.work(stand, 1, cpu=1.0)
    (lasting,) = loop.told
    assert (lasting.place, lasting.kind, lasting.lasts) == (SPIN, Kind.COMPUTING, True)
    loop.go_on(0.05, cpu=0.05)
    (hold,) = loop.end(stand)
    assert (hold.place, hold.kind, hold.lasts) == (SPIN, Kind.COMPUTING, False)
    assert abs(hold.seconds - 0.35) < 1e-6
    assert loop.sample(None) == []


def test_a_callback_that_waited_for_a_core_is_let_go() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 10, cpu=0.2, queued=0.8)
    loop.go_on(0.05)
    assert loop.told == [] and loop.end(stand) == []


def test_one_that_waited_for_a_core_and_then_computed_is_held_to_what_it_computed() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 10, cpu=0.2, queued=0.8)
    loop.work(stand, 2, cpu=1.0)
    assert loop.told[-1].kind is Kind.COMPUTING


def test_a_callback_that_stands_still_in_three_samples_waits() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 2)
    assert loop.told == []
    loop.work(stand, 1)
    assert [(hold.kind, hold.place) for hold in loop.told] == [(Kind.WAITING, SPIN)]


def test_one_that_computes_at_one_instruction_with_less_than_a_whole_core_does_not_wait() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 3, cpu=0.8, queued=0.15)
    assert loop.told == []
    loop.work(stand, 1, cpu=0.8, queued=0.15)
    assert [hold.kind for hold in loop.told] == [Kind.COMPUTING]


def test_three_samples_are_evidence_also_when_the_limit_is_passed_after_the_last_of_them() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.go_on(0.01)
    loop.sample(stand)
    loop.work(stand, 2)
    assert loop.told == []
    loop.go_on(0.08)
    assert [hold.kind for hold in loop.end(stand)] == [Kind.WAITING]


def test_who_goes_from_place_to_place_without_computing_waits_for_others() -> None:
    loop = Loop()
    began = loop.now
    for number in range(8):
        loop.work(billed(began, spot=number), 1)
    assert loop.told == [] and loop.end(billed(began)) == []


def test_standing_still_while_others_compute_may_be_waiting_for_the_interpreter() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 8, cpu=0.1, others=0.09)
    assert loop.told == []


def test_standing_still_while_the_machine_is_full_is_no_evidence() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.work(stand, 8, queued=0.5)
    for _ in range(8):  # the sampler comes too rarely
        loop.go_on(LATE * 1.1)
        loop.sample(stand)
    assert loop.told == []


def test_a_callback_nobody_saw_is_judged_by_what_it_used_until_its_end() -> None:
    loop = Loop()
    loop.go_on(0.05, cpu=0.0)
    stand = billed(loop.now)
    loop.go_on(7.0, cpu=6.9)
    (hold,) = loop.end(stand)
    assert hold.kind is Kind.COMPUTING and hold.place == ELSEWHERE and abs(hold.seconds - 7.0) < 1e-6


def test_a_callback_during_which_no_sample_could_be_taken_kept_the_interpreter() -> None:
    loop = Loop()
    stand = billed(loop.now)
    loop.go_on(7.0, cpu=0.001)
    (hold,) = loop.end(stand, missed=6.9)
    assert hold.kind is Kind.SEIZING


def test_nobody_kept_the_interpreter_if_another_thread_used_it_or_no_core_was_free() -> None:
    for queued, others in ((0.0, 6.8), (6.0, 0.0)):
        loop = Loop()
        stand = billed(loop.now)
        loop.go_on(7.0, cpu=0.1, queued=queued)
        assert loop.end(stand, missed=6.9, others=others) == []


def test_a_thread_that_kept_the_interpreter_is_named() -> None:
    loop = Loop()
    loop.go_on(7.0)
    assert loop.sample(None, THREAD, others=6.8, missed=6.9) == [Hold(THREAD, 6.9, Kind.SEIZING)]
    loop.go_on(1.0)
    assert loop.sample(None, THREAD, others=0.2, missed=0.9) == []
    loop.go_on(1.0, cpu=0.9)
    assert loop.sample(None, THREAD, others=0.6, missed=0.9) == []


def test_a_process_that_was_stopped_blames_nobody() -> None:
    loop = Loop()
    loop.go_on(60.0)
    assert loop.sample(None, THREAD, others=0.0, missed=59.9) == []


def test_a_callback_that_does_not_tell_its_end_is_over_when_it_is_seen_no_more() -> None:
    loop = Loop()
    task = Stand(SPIN, "a task", None, "here")
    loop.work(task, 5, cpu=1.0)
    assert loop.told[-1].lasts
    loop.go_on(STEP)
    (hold,) = loop.sample(Stand(SPIN, "another task", None, "here"))
    assert not hold.lasts and abs(hold.seconds - 4 * STEP) < 1e-6


def test_many_short_callbacks_hold_nothing_however_busy_the_loop() -> None:
    loop = Loop()
    for number in range(30):
        loop.work(Stand(SPIN, number, None, "here"), 1, cpu=1.0)
    assert loop.told == []


def test_without_a_clock_of_the_thread_three_samples_in_one_function_decide() -> None:
    loop = Loop(tells_cpu=False)
    stand = billed(loop.now)
    loop.work(stand, 3)
    assert [hold.kind for hold in loop.told] == [Kind.WAITING]
    loop = Loop(tells_cpu=False)
    began = loop.now
    for number in range(8):
        loop.work(billed(began, place=(SPIN, ELSEWHERE)[number % 2]), 1)
    assert loop.told == []


def test_a_function_that_goes_from_line_to_line_is_one_place() -> None:
    assert SPIN.key == SPIN.__class__("spinner", "spin", "spin", "agents/spinner.py", 99).key != ELSEWHERE.key


def test_the_limit_is_a_quarter_of_a_second() -> None:
    assert LIMIT == 0.25
