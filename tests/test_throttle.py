from mesh.throttle import AGAIN_AFTER, Throttle


def test_the_first_of_a_kind_passes_and_the_rest_are_counted() -> None:
    throttle = Throttle()
    assert throttle.text("a", "knock", 0.0) == "knock"
    assert [throttle.text("a", "knock", now) for now in (1.0, 2.0, 9.9)] == [None, None, None]
    assert throttle.text("b", "other", 3.0) == "other"
    assert throttle.text("a", "knock", AGAIN_AFTER) == "knock (3 more like it since the last one told)"
    assert throttle.text("a", "knock", 2 * AGAIN_AFTER) == "knock"


def test_kinds_without_number_take_bounded_memory() -> None:
    throttle = Throttle()
    assert all(throttle.passes(str(number), 0.0) == 0 for number in range(5000))
    assert len(throttle._told) <= 1000
