"""Names whose invalidations are heard of: by whichever cache that shares the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache._engine import Subscriptions, generate_auth_key
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import InvalidKeyError, InvalidTagError
from velro_cache.manager import OptimizedCacheManager


def private() -> OptimizedCacheManager:
    return OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))


USER = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
KEY = generate_auth_key("generation_access", generation_id="g", user_id=USER)


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda cache: cache.delete(KEY),
        lambda cache: cache.delete(
            KEY.upper().replace("AUTH:GEN:G:USER", "auth:gen:g:user").replace("ACCESS", "access")
        ),
        lambda cache: cache.invalidate_user_data(USER),
        lambda cache: cache.invalidate_user_data(str(USER).upper()),
        lambda cache: cache.invalidate_generation_data("g"),
        lambda cache: cache.invalidate_by_tags(["own"]),
        lambda cache: cache.invalidate_by_pattern("auth:*"),
        lambda cache: cache.invalidate_by_pattern("auth:gen:g:*"),
        lambda cache: cache.invalidate_by_pattern("*:access"),
        lambda cache: cache.invalidate_by_pattern(f"*:user:{str(USER).upper()}:a*"),
    ],
)
def test_whatever_invalidates_it_is_heard_of_once(invalidate: Callable[[Any], Any]) -> None:
    cache = private()
    subscriptions = Subscriptions(cache)
    number = subscriptions.add([KEY], ["own"])
    assert subscriptions.poll() == ([], False)
    invalidate(cache)
    assert subscriptions.poll() == ([number], False)
    assert subscriptions.poll() == ([], False)


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda cache: cache.set(KEY, 1),
        lambda cache: cache.delete("auth:gen:g:user:other:access"),
        lambda cache: cache.invalidate_user_data("other"),
        lambda cache: cache.invalidate_by_tags(["other"]),
        lambda cache: cache.invalidate_by_pattern("*:role"),
    ],
)
def test_other_things_are_not(invalidate: Callable[[Any], Any]) -> None:
    cache = private()
    subscriptions = Subscriptions(cache)
    subscriptions.add([KEY], ["own"])
    invalidate(cache)
    assert subscriptions.poll() == ([], False)


def test_a_wildcard_that_nobody_polled_for_is_told_to_who_comes_again() -> None:
    # While nobody watches, nobody polls: a client that was away compares states, then polls.
    cache = private()
    subscriptions = Subscriptions(cache)
    before = subscriptions.add([KEY], [])
    state = subscriptions.state([before])
    subscriptions.remove(before)
    cache.invalidate_by_pattern("*:access")
    again = subscriptions.add([KEY], [])
    is_another = subscriptions.state([again]) != state
    assert is_another or subscriptions.poll() == ([again], False)


def test_another_cache_on_the_same_table_is_heard_and_gives_the_same_state() -> None:
    name = f"heard-{uuid4().hex[:8]}"
    here, there = (OptimizedCacheManager(OptimizedCacheConfig(name=name)) for _ in range(2))
    hears, compares = Subscriptions(here), Subscriptions(there)
    one = hears.add([], ["user:ada"])
    compares.add([], ["user:bob"])
    two = compares.add([], ["user:ada"])
    assert hears.state([one]) == compares.state([two])
    there.invalidate_user_data("ada")
    assert hears.poll() == ([one], False)
    assert hears.state([one]) != compares.state([two])
    compares.poll()
    assert hears.state([one]) == compares.state([two])
    there.clear()
    assert hears.poll() == ([], True)


def test_other_tables_give_another_state() -> None:
    states = set()
    for _ in range(3):
        subscriptions = Subscriptions(private())
        states.add(subscriptions.state([subscriptions.add([], ["user:ada"])]))
    assert len(states) == 3


def test_bad_input_changes_nothing() -> None:
    subscriptions = Subscriptions(private())
    for keys, tags, error in (
        ("key", [], TypeError),
        ([""], [], InvalidKeyError),
        ([1], [], TypeError),
        ([], "tag", InvalidTagError),
        ([], [""], InvalidTagError),
        ([], [None], InvalidTagError),
    ):
        with pytest.raises(error):
            subscriptions.add(keys, tags)  # type: ignore[arg-type]
    assert len(subscriptions) == 0
    assert not subscriptions.remove(1)
    with pytest.raises(KeyError):
        subscriptions.state([1])
    with pytest.raises(TypeError):
        Subscriptions(None)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["user", "wildcard", "poll", "remove", "add"]), st.integers(0, 5)
        ),
        max_size=60,
    )
)
def test_nobody_misses_anything(steps: list[tuple[str, int]]) -> None:
    # Against a plain model: who watches a name that was invalidated is told at the next poll.
    cache = private()
    subscriptions = Subscriptions(cache)
    numbers: dict[int, int] = {}
    expected: set[int] = set()
    # Who came after a wildcard that no poll saw is told, too.
    unseen: set[int] = set()
    extra: set[int] = set()
    for what, user in steps:
        if what == "add" and user not in numbers:
            key = generate_auth_key("user_profile", user_id=user)
            numbers[user] = subscriptions.add([key], [f"user:{user}"])
            extra |= {numbers[user]} if user in unseen else set()
        elif what == "remove" and user in numbers:
            assert subscriptions.remove(numbers[user])
            expected.discard(numbers.pop(user))
        elif what == "user":
            cache.invalidate_user_data(user)
            expected |= {numbers[user]} if user in numbers else set()
        elif what == "wildcard":
            cache.invalidate_by_pattern(f"*:{user}:profile")
            unseen.add(user)
            expected |= {numbers[user]} if user in numbers else set()
        elif what == "poll":
            told, everything = subscriptions.poll()
            # All of them, perhaps, where wildcards were too many to be remembered.
            assert expected <= set(told) and not everything
            is_exact = set(told) - expected <= extra
            assert is_exact or sum(1 for s in steps if s[0] == "wildcard") > 30
            expected, unseen, extra = set(), set(), set()
    assert len(subscriptions) == len(numbers)
