"""A value read before something it depends on was taken away is never stored afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager

KEY = "auth:gen:g1:user:u1:access"

INVALIDATIONS: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    "its tag": lambda cache: cache.invalidate_by_tags(["x", "mine"]),
    "its user": lambda cache: cache.invalidate_user_data("u1"),
    "its generation": lambda cache: cache.invalidate_generation_data("g1"),
    "its key": lambda cache: cache.delete(KEY),
    "its key as a pattern": lambda cache: cache.invalidate_by_pattern(KEY),
    "a prefix of its key": lambda cache: cache.invalidate_by_pattern("auth:gen:g1:*"),
    "its first segment": lambda cache: cache.invalidate_by_pattern("auth:*"),
    "a pattern in the middle": lambda cache: cache.invalidate_by_pattern("auth:*:access"),
    "a pattern at the end": lambda cache: cache.invalidate_by_pattern("*u1:access"),
    "half a segment": lambda cache: cache.invalidate_by_pattern("auth:gen:g*"),
    "everything": lambda cache: cache.clear(),
    "every key": lambda cache: cache.invalidate_by_pattern("*"),
}
UNRELATED: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    "another tag": lambda cache: cache.invalidate_by_tags(["other"]),
    "another user": lambda cache: cache.invalidate_user_data("u2"),
    "another generation": lambda cache: cache.invalidate_generation_data("g2"),
    "another key": lambda cache: cache.delete(KEY + ":more"),
    "another prefix": lambda cache: cache.invalidate_by_pattern("auth:gen:g2:*"),
    "a pattern that does not fit": lambda cache: cache.invalidate_by_pattern("auth:*:role"),
    "a prefix that is one letter short": lambda cache: cache.invalidate_by_pattern("auth:gen:g:*"),
}

SETTERS: dict[str, Callable[[OptimizedCacheManager, int], Any]] = {
    "set": lambda cache, stamp: cache.set(KEY, "old", tags=["mine"], stamp=stamp),
    "set_many": lambda cache, stamp: cache.set_many({KEY: "old"}, tags=["mine"], stamp=stamp),
}


@pytest.mark.parametrize("setter", SETTERS)
@pytest.mark.parametrize("what", INVALIDATIONS)
def test_a_value_read_before_an_invalidation_is_refused(
    cache: OptimizedCacheManager, what: str, setter: str
) -> None:
    stamp = cache.snapshot()
    INVALIDATIONS[what](cache)
    assert not SETTERS[setter](cache, stamp)
    assert cache.get(KEY) == (None, False)
    assert cache.get_stats()["stale_rejects"] == 1


@pytest.mark.parametrize("what", sorted(set(INVALIDATIONS) - {"its tag"}))
def test_a_typed_value_read_before_an_invalidation_is_refused(
    cache: OptimizedCacheManager, what: str
) -> None:
    stamp = cache.snapshot()
    INVALIDATIONS[what](cache)
    assert cache.set_generation_access("g1", "u1", "old", stamp=stamp) is False
    assert cache.get_generation_access("g1", "u1") == (None, False)


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_a_value_read_after_it_is_stored(cache: OptimizedCacheManager, what: str) -> None:
    INVALIDATIONS[what](cache)
    stamp = cache.snapshot()
    assert cache.set(KEY, "new", tags=["mine"], stamp=stamp)
    assert cache.get(KEY) == ("new", True)


@pytest.mark.parametrize("what", UNRELATED)
def test_an_invalidation_of_something_else_refuses_nothing(
    cache: OptimizedCacheManager, what: str
) -> None:
    stamp = cache.snapshot()
    UNRELATED[what](cache)
    assert cache.set(KEY, "value", tags=["mine"], stamp=stamp)
    assert cache.get(KEY) == ("value", True)


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_a_value_stored_with_an_old_stamp_is_dropped_like_any_other(
    cache: OptimizedCacheManager, what: str
) -> None:
    stamp = cache.snapshot()
    for unrelated in UNRELATED.values():
        unrelated(cache)
    assert cache.set(KEY, "value", tags=["mine"], stamp=stamp)
    INVALIDATIONS[what](cache)
    assert cache.get(KEY) == (None, False)


def test_a_refused_value_does_not_remove_the_newer_one(cache: OptimizedCacheManager) -> None:
    stamp = cache.snapshot()
    cache.invalidate_user_data("u1")
    cache.set(KEY, "new")
    assert not cache.set(KEY, "old", stamp=stamp)
    assert cache.get(KEY) == ("new", True)


def test_setting_is_no_invalidation(cache: OptimizedCacheManager) -> None:
    stamp = cache.snapshot()
    cache.set(KEY, "first")
    assert cache.set(KEY, "second", stamp=stamp)
    assert cache.get(KEY) == ("second", True)


def test_without_a_stamp_a_value_counts_as_read_now(cache: OptimizedCacheManager) -> None:
    cache.invalidate_user_data("u1")
    assert cache.set(KEY, "value")
    assert cache.set(KEY, "value", stamp=None)


def test_a_stamp_can_be_used_for_any_number_of_values(cache: OptimizedCacheManager) -> None:
    stamp = cache.snapshot()
    assert all(cache.set(f"k{number}", number, stamp=stamp) for number in range(100))


def test_a_pattern_of_long_ago_is_remembered_or_refused_unseen(
    cache: OptimizedCacheManager,
) -> None:
    stamp = cache.snapshot()
    cache.invalidate_by_pattern("auth:*:access")
    for number in range(1000):
        cache.invalidate_by_pattern(f"nothing*{number}*")
        assert not cache.set(KEY, "old", stamp=stamp)


@pytest.mark.parametrize("ahead", [1, 2, 1000, 2**40, 2**63])
def test_a_stamp_from_the_future_is_refused(cache: OptimizedCacheManager, ahead: int) -> None:
    future = cache.snapshot() + ahead
    with pytest.raises(ValueError, match="future"):
        cache.set(KEY, 1, stamp=future)
    with pytest.raises(ValueError, match="future"):
        cache.set_many({KEY: 1}, stamp=future)
    with pytest.raises(ValueError, match="future"):
        cache.set_user_profile("u1", 1, stamp=future)
    assert len(cache) == 0


@pytest.mark.parametrize("wrong", [-1, 2**64, 2**100])
def test_a_stamp_that_cannot_be_one_is_refused(cache: OptimizedCacheManager, wrong: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        cache.set(KEY, 1, stamp=wrong)
    assert len(cache) == 0


@pytest.mark.parametrize("wrong", ["1", 1.0, b"1"])
def test_a_stamp_that_is_no_integer_is_a_type_error(
    cache: OptimizedCacheManager, wrong: Any
) -> None:
    with pytest.raises(TypeError):
        cache.set(KEY, 1, stamp=wrong)


def test_the_clock_of_invalidations_never_goes_back(cache: OptimizedCacheManager) -> None:
    seen = [cache.snapshot()]
    for invalidate in (*INVALIDATIONS.values(), *UNRELATED.values()):
        invalidate(cache)
        seen.append(cache.snapshot())
    assert all(before < after for before, after in itertools.pairwise(seen))


def test_what_was_refused_while_stopped_and_started_again_stays_refused(
    cache: OptimizedCacheManager,
) -> None:
    stamp = cache.snapshot()
    cache.stop()
    cache.start()
    assert not cache.set(KEY, "from before the stop", stamp=stamp)
    cache.stop()
