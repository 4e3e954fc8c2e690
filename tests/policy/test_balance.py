"""Of several instances each strategy chooses as it promises, whatever comes and goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.policy.balance import STRATEGIES, Balancer, Load, Turns, rendezvous
from mesh.records import InstanceRecord

HERE = "mainpc"

places = st.lists(
    st.tuples(st.sampled_from(["mainpc", "pc2", "pc3", "pc4"]), st.integers(1, 4)), min_size=1, max_size=12, unique=True
)
keys = st.binary(min_size=1, max_size=12)


def row(host: str, number: int = 1) -> InstanceRecord:
    return InstanceRecord("nlu", host, 1, "ready", number=number)


def rows_of(found: Sequence[tuple[str, int]]) -> list[InstanceRecord]:
    return [row(host, number) for host, number in found]


def spread(count: int) -> list[InstanceRecord]:
    """Return so many instances on hosts of their own, none of them here."""
    return [row(f"pc{number + 2}") for number in range(count)]


def loaded(balancer: Balancer, **calls: int) -> None:
    """Have so many calls on their way to the first instance of each host."""
    for host, count in calls.items():
        for _ in range(count):
            balancer.load.add(row(host))


@given(found=places, strategy=st.sampled_from(STRATEGIES), key=keys, seed=st.integers(0, 9))
def test_every_strategy_chooses_one_of_those_there_are(
    found: list[tuple[str, int]], strategy: str, key: bytes, seed: int
) -> None:
    rows = rows_of(found)
    assert Balancer(HERE, Random(seed)).choose(rows, strategy, key) in rows


# load


def test_a_load_counts_what_is_on_its_way_and_keeps_nothing_of_who_has_none() -> None:
    load, first, second = Load(), row("pc2"), row("pc2", 2)
    taken = [load.add(first), load.add(first), load.add(second)]
    assert (load.of(first), load.of(second), load.of(row("pc3"))) == (2, 1, 0)
    for key in taken:
        load.take(key)
    assert (load.of(first), len(load)) == (0, 0)


# two choices


def test_a_call_alone_stays_on_its_host() -> None:
    balancer = Balancer(HERE, Random(1))
    assert {balancer.choose([row("pc2"), row(HERE), row("pc3")]).host for _ in range(50)} == {HERE}


def test_calls_that_overlap_use_the_other_host_too_and_evenly() -> None:
    balancer = Balancer(HERE, Random(1))
    for _ in range(101):
        balancer.load.add(balancer.choose([row(HERE), row("pc2")]))
    assert (balancer.load.of(row(HERE)), balancer.load.of(row("pc2"))) == (51, 50)


def test_another_host_gets_the_call_only_if_it_has_strictly_less_to_do() -> None:
    balancer = Balancer(HERE, Random(1))
    loaded(balancer, mainpc=3, pc2=3)
    assert balancer.choose([row(HERE), row("pc2")]).host == HERE
    loaded(balancer, mainpc=1)
    assert balancer.choose([row(HERE), row("pc2")]).host == "pc2"


def test_without_an_own_instance_or_with_own_ones_alone_all_get_their_share() -> None:
    for rows in ([row("pc2"), row("pc3"), row("pc4")], [row(HERE, 1), row(HERE, 2), row(HERE, 3)]):
        balancer = Balancer(HERE, Random(3))
        shares = Counter(balancer.choose(rows).place for _ in range(3000))
        assert all(850 < shares[each.place] < 1150 for each in rows)


def test_of_two_instances_the_less_loaded_one_is_always_taken() -> None:
    balancer = Balancer(HERE, Random(5))
    loaded(balancer, pc2=5, pc3=4)
    assert {balancer.choose([row("pc2"), row("pc3")]).host for _ in range(50)} == {"pc3"}


@pytest.mark.parametrize("seed", range(5))
def test_two_choices_keep_the_fullest_far_below_what_chance_makes_of_it(seed: int) -> None:
    """m balls in n bins: the excess of the fullest is about ln ln n for two choices, sqrt(m/n ln n) for chance."""
    rows, fullest = spread(50), {}
    for strategy in ("random", "two_choices"):
        balancer = Balancer(HERE, Random(seed))
        for _ in range(5000):
            balancer.load.add(balancer.choose(rows, strategy))
        fullest[strategy] = max(map(balancer.load.of, rows)) - 100
    assert fullest["two_choices"] <= 6
    assert fullest["random"] >= 12


# least outstanding, local first, random


@given(found=places, data=st.data())
def test_least_outstanding_takes_none_that_has_more_than_another(found: list[tuple[str, int]], data: st.DataObject
                                                                 ) -> None:
    rows, balancer = rows_of(found), Balancer(HERE, Random(0))
    for each in rows:
        for _ in range(data.draw(st.integers(0, 4))):
            balancer.load.add(each)
    chosen = balancer.choose(rows, "least_outstanding")
    least = min(map(balancer.load.of, rows))
    assert balancer.load.of(chosen) == least
    if any(each.host == HERE and balancer.load.of(each) == least for each in rows):
        assert chosen.host == HERE


def test_local_first_stays_here_however_loaded_and_goes_out_when_there_is_none() -> None:
    balancer = Balancer(HERE, Random(0))
    loaded(balancer, mainpc=1000, pc3=2)
    assert balancer.choose([row(HERE), row("pc2")], "local_first").host == HERE
    assert balancer.choose([row("pc2"), row("pc3")], "local_first").host == "pc2"


def test_chance_gives_every_instance_its_share_the_own_one_too() -> None:
    balancer, rows = Balancer(HERE, Random(2)), [row(HERE), row("pc2"), row("pc3")]
    loaded(balancer, pc2=1000)
    shares = Counter(balancer.choose(rows, "random").place for _ in range(3000))
    assert all(900 < shares[each.place] < 1100 for each in rows)


# round robin


@given(steps=st.lists(st.tuples(places, st.integers(1, 9)), min_size=1, max_size=12))
def test_two_instances_that_stay_differ_by_one_turn_at_most_whatever_comes_and_goes(
    steps: list[tuple[list[tuple[str, int]], int]]
) -> None:
    turns, chosen, stays = Turns(), Counter[tuple[str, int]](), {("mainpc", 1), ("pc2", 1)}
    for found, times in steps:
        rows = rows_of(sorted(stays | set(found)))
        for _ in range(times):
            picked = turns.next(rows)
            chosen[picked.host, picked.number] += 1
            first, second = (chosen[each] for each in sorted(stays))
            assert abs(first - second) <= 1
        assert len(turns) <= 2 * len(rows) + 9


def test_a_round_holds_everyone_once_and_who_comes_is_next() -> None:
    turns, rows = Turns(), spread(3)
    assert [turns.next(rows).host for _ in range(6)] == ["pc2", "pc3", "pc4"] * 2
    assert turns.next([*rows, row("pc9")]).host == "pc9"
    assert turns.next([*rows, row("pc9")]).host == "pc2"


def test_services_have_turns_of_their_own() -> None:
    balancer = Balancer(HERE)
    others = [InstanceRecord("tts", each.host, 1, "ready") for each in spread(2)]
    hosts = [balancer.choose(rows, "round_robin").host for rows in (spread(2), others, spread(2), others)]
    assert hosts == ["pc2", "pc2", "pc3", "pc3"]


# hash


@given(found=places, key=keys, data=st.data())
def test_who_goes_takes_only_its_own_keys_along(found: list[tuple[str, int]], key: bytes, data: st.DataObject) -> None:
    rows = rows_of(found)
    before = rendezvous(rows, key)
    gone = data.draw(st.sampled_from(rows))
    left = [each for each in rows if each != gone]
    if left:
        after = rendezvous(left, key)
        assert (after == before) == (gone != before)  # and read backwards: who comes takes keys for itself alone


@given(found=places, key=keys, seed=st.integers(0, 99))
def test_the_order_of_the_rows_and_what_else_is_known_of_them_do_not_matter(
    found: list[tuple[str, int]], key: bytes, seed: int
) -> None:
    rows = rows_of(found)
    other = [InstanceRecord("tts", each.host, 99, "degraded", number=each.number) for each in rows]
    Random(seed).shuffle(other)
    first, second = rendezvous(rows, key), rendezvous(other, key)
    assert (first.host, first.number) == (second.host, second.number)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_keys_spread_evenly_and_one_in_n_moves_when_one_comes(count: int) -> None:
    numbers = range(6000)
    before = [rendezvous(spread(count), str(number).encode()).host for number in numbers]
    share = len(numbers) / count
    assert all(abs(times - share) < 5 * share**0.5 for times in Counter(before).values())
    after = [rendezvous(spread(count + 1), str(number).encode()).host for number in numbers]
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    share = len(numbers) / (count + 1)
    assert abs(moved - share) < 5 * share**0.5


def test_a_place_is_the_same_in_every_process() -> None:
    """Written down once: hosts of different versions must agree, or a key has two homes while they are updated."""
    rows = [row("mainpc"), row("mainpc", 2), row("pc2")]
    assert [rendezvous(rows, key).place for key in (b"a", b"b", b"c", b"d", b"e", b"f")] == [
        "mainpc#2", "mainpc#2", "pc2", "pc2", "mainpc", "mainpc#2"
    ]
