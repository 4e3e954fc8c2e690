"""How much may be under way, and how large parts are."""

from __future__ import annotations

from mesh import wire
from mesh.transport.window import FIRST, MOST, QUICK, SLOW, Window

CHUNK = wire.CHUNK
BASE = 0.0005


class Line:
    """A line that carries so many bytes a second to a peer that acknowledges at once, `away` seconds off."""

    def __init__(self, rate: float, away: float = BASE, window: Window | None = None) -> None:
        self.rate = rate
        self.away = away
        self.window = window or Window()
        self.now = self.free = self.carried = 0.0
        self._under_way: list[tuple[float, int]] = []
        self._sent = 0

    def carry(self, size: int) -> None:
        """Send parts as the window lets until so much is acknowledged."""
        until = self._sent + size
        while self._sent < until or self._under_way:
            while self._sent < until and (part := min(self.window.part, until - self._sent)):
                self._sent += part
                self.free = max(self.free, self.now) + part / self.rate
                self._under_way.append((self.free + self.away, self._sent))
                self.window.sent(1, self._sent, part, self.now)
            self.now, end = self._under_way.pop(0)
            self.window.acknowledge(1, end, self.now)


def test_four_parts_of_64_kib_may_be_under_way_at_first() -> None:
    window = Window()
    for number in range(4):
        assert window.part == CHUNK
        window.sent(1, (number + 1) * CHUNK, CHUNK, 0.0)
    assert window.part == 0
    window.acknowledge(1, CHUNK, 0.0)
    assert window.part == CHUNK


def test_a_fast_line_gets_a_large_window_and_large_parts() -> None:
    line = Line(5e9)
    line.carry(200_000_000)
    assert line.window.room == MOST
    assert line.window.part == wire.MAX_PART


def test_on_a_line_of_a_gigabit_nothing_waits_long_and_the_line_is_full() -> None:
    line = Line(119e6)
    line.carry(20_000_000)
    began = line.now
    line.carry(200_000_000)
    assert line.window.room / line.rate < 2 * QUICK
    assert 200_000_000 / (line.now - began) > 0.98 * line.rate


def test_a_far_peer_gets_as_much_as_the_line_holds() -> None:
    line = Line(119e6, away=0.020)
    line.carry(100_000_000)
    began = line.now
    line.carry(200_000_000)
    assert 200_000_000 / (line.now - began) > 0.8 * line.rate


def test_a_slow_line_has_one_part_under_way() -> None:
    line = Line(1e6)
    line.carry(4 * CHUNK)
    line.carry(20 * CHUNK)
    assert line.window.room <= 2 * CHUNK


def test_a_line_that_became_slow_gets_less_and_one_that_became_fast_again_more() -> None:
    line = Line(5e9)
    line.carry(200_000_000)
    line.rate = 119e6
    line.carry(20_000_000)
    assert line.window.room / line.rate < 2 * QUICK + FIRST / line.rate
    line.rate = 5e9
    line.carry(200_000_000)
    assert line.window.room == MOST


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window()
    for number in range(1, 1000):
        window.sent(number, CHUNK, CHUNK, 0.0)
        window.acknowledge(number, CHUNK, 0.0)
    assert window.room == FIRST


def test_one_word_acknowledges_all_that_came_before() -> None:
    window = Window()
    for number in range(1, 5):
        window.sent(7, number * CHUNK, CHUNK, 0.0)
    window.acknowledge(7, 3 * CHUNK, SLOW)
    window.acknowledge(7, 12345, SLOW)
    window.acknowledge(9, 4 * CHUNK, SLOW)
    assert [part.end for part in window._parts] == [4 * CHUNK]
    window.forget(7)
    assert (window._under_way, list(window._parts)) == (0, [])
