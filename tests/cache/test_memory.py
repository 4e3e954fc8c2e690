"""The least recently used answers make room, by number and by bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.cache.group import Group
from mesh.cache.memory import LARGEST, OVERHEAD, Memory
from mesh.cache.terms import Terms
from mesh.message import Reply


def group(operation: str = "find") -> Group:
    terms = Terms("kb", operation, 60.0)
    return Group(terms, terms.labels())


def put(memory: Memory, name: str, owner: Group, size: int = 0) -> bool:
    return memory.put(name.encode(), Reply(bytes(size)), 0.0, owner)


def names(memory: Memory, wanted: str) -> str:
    return "".join(name for name in wanted if memory.get(name.encode()) is not None)


def test_the_least_recently_used_makes_room() -> None:
    memory, owner = Memory(3, 10**6), group()
    for name in "abc":
        put(memory, name, owner)
    memory.get(b"a")
    put(memory, "d", owner)
    assert names(memory, "abcd") == "acd"
    assert owner.evicted == 1


def test_bytes_bound_it_as_well() -> None:
    one = OVERHEAD + 1 + 1000
    memory, owner = Memory(100, 5 * one), group()
    for name in "abcdef":
        assert put(memory, name, owner, 1000)
    assert (len(memory), memory.size, owner.size) == (5, 5 * one, 5 * one)
    assert names(memory, "abcdef") == "bcdef"


def test_one_answer_may_not_take_most_of_it() -> None:
    memory, owner = Memory(100, 10_000), group()
    put(memory, "a", owner)
    assert not put(memory, "a", owner, int(10_000 * LARGEST))
    assert (len(memory), memory.size, owner.keys) == (0, 0, set())


def test_nothing_is_kept_without_room() -> None:
    assert not put(Memory(0, 10_000), "a", group())


def test_the_answers_of_one_operation_go_alone() -> None:
    memory, find, count = Memory(100, 10**6), group("find"), group("count")
    put(memory, "a", find)
    put(memory, "b", count)
    put(memory, "c", find)
    assert memory.clear(find) == 2
    assert names(memory, "abc") == "b"
    assert (find.size, memory.size) == (0, count.size)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3000), st.booleans(), st.booleans())))
def test_what_is_counted_is_what_is_there(steps: list[tuple[str, int, bool, bool]]) -> None:
    memory, groups = Memory(4, 8000), {False: group("find"), True: group("count")}
    for name, size, second, clears in steps:
        if clears:
            memory.clear(groups[second])
        elif size % 7 == 0:
            memory.drop(name.encode())
        else:
            put(memory, name, groups[second], size)
        assert len(memory) <= 4 and memory.size <= 8000
        assert memory.size == sum(one.size for one in groups.values())
        assert len(memory) == sum(len(one.keys) for one in groups.values())
        there = {key: memory.get(key) for one in groups.values() for key in one.keys}
        assert memory.size == sum(entry.size for entry in there.values() if entry is not None)
        assert all(entry is not None and key in entry.group.keys for key, entry in there.items())
