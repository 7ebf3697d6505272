"""How long an entry lives, on every path it can be set and looked up by."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager
from velro_cache._engine import ManualClock

LIVES: dict[str, Any] = {
    "default_ttl_seconds": 100,
    "max_ttl_seconds": 400,
    "auth_ttl_seconds": 200,
    "uuid_validation_ttl_seconds": 900,
}
"""All different, and one of them above the maximum, as in the presets."""


@pytest.fixture
def cache(make_cache: Any) -> OptimizedCacheManager:
    made: OptimizedCacheManager = make_cache(**LIVES)
    return made


def life_of(cache: OptimizedCacheManager, clock: ManualClock, found: Callable[[], bool]) -> int:
    """Whole seconds for which an entry just set is found."""
    for second in range(2000):
        if not found():
            return second
        clock.advance(1)
    raise AssertionError("it lives for ever")


SETTERS: dict[str, tuple[tuple[Any, ...], int]] = {
    "user_profile": (("u",), 200),
    "user_permissions": (("u",), 200),
    "generation_access": (("g", "u"), 200),
    "project_access": (("p", "u"), 200),
    "team_role": (("t", "u"), 200),
    "uuid_validation": (("0", "c"), 900),
    "session_data": (("u",), 100),
    "rate_limit": (("u", "w"), 100),
}


@pytest.mark.parametrize(("kind", "ids", "expected"), [(k, *v) for k, v in SETTERS.items()])
def test_each_kind_lives_as_long_as_its_own_setting_says(
    cache: OptimizedCacheManager, clock: ManualClock, kind: str, ids: Any, expected: int
) -> None:
    getattr(cache, f"set_{kind}")(*ids, "value")
    assert life_of(cache, clock, lambda: getattr(cache, f"get_{kind}")(*ids)[1]) == expected


@pytest.mark.parametrize(("kind", "ids", "usual"), [(k, *v) for k, v in SETTERS.items()])
def test_each_kind_takes_a_life_of_its_own_cut_to_the_longest_it_may_have(
    cache: OptimizedCacheManager, clock: ManualClock, kind: str, ids: Any, usual: int
) -> None:
    getter, setter = getattr(cache, f"get_{kind}"), getattr(cache, f"set_{kind}")
    setter(*ids, "value", 7)
    assert life_of(cache, clock, lambda: getter(*ids)[1]) == 7
    setter(*ids, data="value", ttl=1_000_000)
    assert life_of(cache, clock, lambda: getter(*ids)[1]) == max(400, usual)


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [(None, 100), (1, 1), (5.0, 5), (399, 399), (400, 400), (401, 400), (1e300, 400)],
)
def test_a_life_is_kept_and_cut_to_the_maximum(
    cache: OptimizedCacheManager, clock: ManualClock, ttl: float | None, expected: int
) -> None:
    cache.set("k", 1, ttl)
    assert life_of(cache, clock, lambda: "k" in cache) == expected


@pytest.mark.parametrize("ttl", [math.inf, 10**30, 10**400], ids=["inf", "10**30", "10**400"])
def test_a_life_beyond_all_bounds_is_cut_like_any_other(
    cache: OptimizedCacheManager, clock: ManualClock, ttl: float
) -> None:
    cache.set("k", 1, ttl)
    assert life_of(cache, clock, lambda: "k" in cache) == 400


WAYS_TO_SET: dict[str, Callable[[OptimizedCacheManager, Any], Any]] = {
    "set": lambda cache, ttl: cache.set("k", 1, ttl),
    "set_many": lambda cache, ttl: cache.set_many({"k": 1}, ttl),
    "get_or_load": lambda cache, ttl: cache.get_or_load("k", lambda: 1, ttl=ttl),
    "set_user_profile": lambda cache, ttl: cache.set_user_profile("k", 1, ttl),
    "set_uuid_validation": lambda cache, ttl: cache.set_uuid_validation("k", "c", 1, ttl),
}


@pytest.mark.parametrize("way", WAYS_TO_SET)
@pytest.mark.parametrize("wrong", [0, 0.0, -0.0, -1, -1e-9, math.nan, -math.inf, -(10**30)])
def test_a_life_that_is_not_above_zero_is_refused(
    cache: OptimizedCacheManager, way: str, wrong: float
) -> None:
    with pytest.raises(ValueError, match="above 0"):
        WAYS_TO_SET[way](cache, wrong)
    assert len(cache) == 0


@pytest.mark.parametrize("way", WAYS_TO_SET)
@pytest.mark.parametrize("wrong", ["60", b"60", [60], object()])
def test_a_life_that_is_no_number_is_a_type_error(
    cache: OptimizedCacheManager, way: str, wrong: Any
) -> None:
    with pytest.raises(TypeError):
        WAYS_TO_SET[way](cache, wrong)
    assert len(cache) == 0


WAYS_TO_LOOK: dict[str, Callable[[OptimizedCacheManager], bool]] = {
    "get": lambda cache: cache.get("auth:user:u:profile")[1],
    "get_value": lambda cache: cache.get_value("auth:user:u:profile") is not None,
    "get_many": lambda cache: bool(cache.get_many(["auth:user:u:profile"])),
    "in": lambda cache: "auth:user:u:profile" in cache,
    "keys": lambda cache: bool(cache.keys()),
    "keys by pattern": lambda cache: bool(cache.keys("auth:*")),
    "typed": lambda cache: cache.get_user_profile("u")[1],
    "get_or_load": lambda cache: cache.get_or_load("auth:user:u:profile", lambda: "new") == "old",
    "delete": lambda cache: cache.delete("auth:user:u:profile"),
    "invalidate_by_tags": lambda cache: cache.invalidate_by_tags(["user:u"]) == 1,
    "invalidate_by_pattern": lambda cache: cache.invalidate_by_pattern("auth:*") == 1,
    "invalidate scattered": lambda cache: cache.invalidate_by_pattern("a*e") == 1,
    "invalidate one key": lambda cache: cache.invalidate_by_pattern("auth:user:u:profile") == 1,
    "invalidate_user_data": lambda cache: cache.invalidate_user_data("u") == 1,
}


@pytest.mark.parametrize("way", WAYS_TO_LOOK)
def test_an_entry_ends_exactly_at_its_deadline_however_one_looks(
    cache: OptimizedCacheManager, clock: ManualClock, way: str
) -> None:
    found = WAYS_TO_LOOK[way]
    cache.set("auth:user:u:profile", "old", ttl=10)
    clock.advance(9.999)
    assert found(cache)
    cache.set("auth:user:u:profile", "old", ttl=10)
    clock.advance(10)
    assert not found(cache)


def test_being_read_does_not_prolong_a_life(
    cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    cache.set("k", 1, ttl=10)
    for _ in range(9):
        clock.advance(1)
        assert cache.get("k") == (1, True)
    clock.advance(1)
    assert cache.get("k") == (None, False)


def test_setting_again_starts_a_new_life(cache: OptimizedCacheManager, clock: ManualClock) -> None:
    cache.set("k", 1, ttl=10)
    clock.advance(9)
    cache.set("k", 2, ttl=10)
    clock.advance(9)
    assert cache.get("k") == (2, True)


def test_an_expired_entry_is_counted_once_and_gives_its_memory_back(
    cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    cache.set("k", "x" * 500, ttl=10)
    assert cache.get_stats()["total_size_mb"] > 0
    clock.advance(10)
    assert cache.get("k") == cache.get("k") == (None, False)
    stats = cache.get_stats()
    assert (stats["expirations"], stats["total_entries"], stats["total_size_mb"]) == (1, 0, 0)


def test_a_life_shorter_than_the_clock_can_tell_is_over_at_once(
    cache: OptimizedCacheManager,
) -> None:
    cache.set("k", 1, ttl=1e-9)
    assert cache.get("k") == (None, False)


def test_the_clock_of_the_machine_is_used_if_none_is_given() -> None:
    cache = OptimizedCacheManager()
    cache.set("long", 1, ttl=300)
    cache.set("over", 1, ttl=1e-6)
    assert cache.get("long") == (1, True)
    assert cache.get("over") == (None, False)


class TestManualClock:
    def test_stands_still_until_it_is_moved(self) -> None:
        clock = ManualClock()
        assert clock.now() == clock.now() == 0
        clock.advance(1.5)
        clock.advance(0)
        assert clock.now() == 1.5

    @pytest.mark.parametrize("wrong", [-1, -0.001, math.nan, math.inf, -math.inf, 1e300])
    def test_never_goes_back(self, wrong: float) -> None:
        clock = ManualClock()
        clock.advance(1)
        with pytest.raises(ValueError, match="seconds"):
            clock.advance(wrong)
        assert clock.now() == 1

    def test_does_not_run_over(self) -> None:
        clock = ManualClock()
        shown = clock.now()
        for _ in range(5):
            clock.advance(1e19)
            assert clock.now() >= shown
            shown = clock.now()

    def test_one_clock_may_serve_several_caches(self) -> None:
        clock = ManualClock()
        one, other = OptimizedCacheManager(clock=clock), OptimizedCacheManager(clock=clock)
        one.set("k", 1, ttl=5)
        other.set("k", 1, ttl=50)
        clock.advance(5)
        assert ("k" in one, "k" in other) == (False, True)


@pytest.mark.parametrize(
    ("value", "ttl"), [(2**70, 1), ({"mask": 2**70}, 1), (1, 2**70), (1, 10**400)]
)
def test_integers_of_any_size_leave_nothing_behind(
    cache: OptimizedCacheManager, value: object, ttl: int
) -> None:
    # Nothing but compiled methods: an exception dropped there would wait for another kind of call.
    store, look_up = cache.set, cache.get
    for _ in range(100):
        store("k", value, ttl)
        look_up("k")
    before = sys.getallocatedblocks()
    for _ in range(5_000):
        store("k", value, ttl)
        look_up("k")
    assert sys.getallocatedblocks() - before < 500
