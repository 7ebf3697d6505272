"""What goes when the cache is full: by entries, by bytes, under each policy."""

from __future__ import annotations

import collections
from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager
from velro_cache._engine import ManualClock

POLICIES = ["lru", "lfu", "ttl", "adaptive"]


def keys(cache: OptimizedCacheManager) -> str:
    return "".join(sorted(cache.keys()))


def full(make_cache: Any, policy: str, **settings: Any) -> OptimizedCacheManager:
    """A cache of four entries that holds a, b, c and d, set in this order."""
    cache: OptimizedCacheManager = make_cache(max_entries=4, eviction_policy=policy, **settings)
    for key in "abcd":
        cache.set(key, key)
    return cache


class TestLru:
    def test_the_one_not_used_for_longest_goes(self, make_cache: Any) -> None:
        cache = full(make_cache, "lru")
        cache.get("a")
        cache.set("c", "again")
        cache.set("e", 1)
        assert keys(cache) == "acde"
        cache.set("f", 1)
        assert keys(cache) == "acef"
        cache.set("g", 1)
        assert keys(cache) == "cefg"

    def test_every_kind_of_lookup_counts_as_use(self, make_cache: Any) -> None:
        cache = full(make_cache, "lru")
        cache.get_value("a")
        cache.get_many(["b"])
        cache.get_or_load("c", lambda: "not called")
        cache.set("e", 1)
        assert keys(cache) == "abce"

    def test_only_asking_whether_it_is_there_is_no_use(self, make_cache: Any) -> None:
        cache = full(make_cache, "lru")
        assert "a" in cache
        assert cache.keys("a") == ["a"]
        cache.set("e", 1)
        assert keys(cache) == "bcde"

    def test_priority_is_worth_a_quarter_of_the_cache_in_requests_per_level(
        self, make_cache: Any
    ) -> None:
        # Four entries: one request per level. `a` counts as used at 1 + 9, as `j` does at 10.
        cache = make_cache(max_entries=4, eviction_policy="lru")
        cache.set("a", 1, priority=10)
        for key in "bcdefghijkl":
            cache.set(key, 1)
            assert "a" in cache
        assert keys(cache) == "ajkl"
        cache.set("m", 1)
        cache.set("n", 1)
        assert keys(cache) == "klmn"


class TestLfu:
    def test_the_one_used_least_often_goes(self, make_cache: Any) -> None:
        cache = full(make_cache, "lfu")
        for key in "aaabbccd":
            cache.get(key)
        cache.set("e", 1)
        assert keys(cache) == "abce"
        cache.set("f", 1)
        assert keys(cache) == "abcf"

    def test_among_equals_the_one_not_used_for_longest_goes(self, make_cache: Any) -> None:
        cache = full(make_cache, "lfu")
        for key in "dcba":
            cache.get(key)
        cache.set("e", 1)
        assert keys(cache) == "abce"

    def test_priority_multiplies_uses(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=2, eviction_policy="lfu")
        cache.set("a", 1, priority=3)
        cache.set("b", 1)
        cache.get("b")
        cache.set("c", 1)
        # Uses and the set itself: a counts 3, b counts 2.
        assert keys(cache) == "ac"

    def test_being_set_again_starts_the_count_anew(self, make_cache: Any) -> None:
        cache = full(make_cache, "lfu")
        for _ in range(10):
            cache.get("a")
        cache.set("a", "again")
        for key in "bcd":
            cache.get(key)
        cache.set("e", 1)
        assert keys(cache) == "bcde"


class TestTtl:
    def test_the_one_that_expires_first_goes(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=4, eviction_policy="ttl")
        for key, ttl in {"a": 40, "b": 10, "c": 30, "d": 20}.items():
            cache.set(key, 1, ttl=ttl)
        for _ in range(10):
            cache.get("b")
        cache.set("e", 1, ttl=50)
        assert keys(cache) == "acde"
        cache.set("f", 1, ttl=5)
        assert keys(cache) == "acef"
        cache.set("g", 1, ttl=60)
        assert keys(cache) == "aceg"

    def test_priority_is_worth_a_minute_per_level(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=2, eviction_policy="ttl")
        cache.set("a", 1, ttl=10, priority=2)
        cache.set("b", 1, ttl=69)
        cache.set("c", 1, ttl=100)
        assert keys(cache) == "ac"
        cache.set("d", 1, ttl=71)
        assert keys(cache) == "cd"


class TestAdaptive:
    def test_what_is_never_used_goes_before_the_often_used(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=100, eviction_policy="adaptive")
        for number in range(100):
            cache.set(str(number), number)
        for number in range(300):
            for used in range(30):
                cache.get(str(used))
            cache.set(f"once{number}", 1)
        assert sum(str(used) in cache for used in range(30)) >= 27
        assert not any(str(unused) in cache for unused in range(30, 100))

    def test_a_scan_does_not_push_out_what_is_used_often(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=10, eviction_policy="adaptive")
        for _ in range(20):
            for key in "abcde":
                cache.get_or_load(key, lambda: 1)
        for number in range(40):
            cache.set(f"scan{number}", number)
            if number % 4 == 0:
                for key in "abcde":
                    cache.get(key)
        assert all(key in cache for key in "abcde")

    def test_what_was_popular_long_ago_goes_in_the_end(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=4, eviction_policy="adaptive")
        for _ in range(1000):
            cache.get_or_load("once", lambda: 1)
        for number in range(400):
            cache.set(f"now{number}", 1)
            cache.get(f"now{number}")
        assert "once" not in cache

    def test_priority_weighs_like_uses(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=3, eviction_policy="adaptive")
        cache.set("a", 1, priority=10)
        cache.set("b", 1)
        cache.set("c", 1)
        cache.set("d", 1)
        assert keys(cache) == "acd"

    def test_when_bytes_are_short_the_large_one_goes_first(self, make_cache: Any) -> None:
        cache = make_cache(max_size_mb=1, eviction_policy="adaptive", compression_enabled=False)
        cache.set("small", b"x" * 1000)
        cache.set("large", b"x" * 900_000)
        cache.set("new", b"x" * 200_000)
        assert sorted(cache.keys()) == ["new", "small"]


@pytest.mark.parametrize("policy", POLICIES)
class TestEveryPolicy:
    def test_the_number_of_entries_is_never_exceeded(self, make_cache: Any, policy: str) -> None:
        cache = make_cache(max_entries=50, eviction_policy=policy)
        for number in range(500):
            assert cache.set(f"k{number}", number, ttl=1 + number % 7, priority=1 + number % 10)
            assert cache.get(f"k{number}") == (number, True)
            assert len(cache) == min(number + 1, 50)
        stats = cache.get_stats()
        assert (stats["evictions"], stats["total_entries"]) == (450, 50)

    def test_the_number_of_bytes_is_never_exceeded(self, make_cache: Any, policy: str) -> None:
        cache = make_cache(max_size_mb=1, eviction_policy=policy, compression_enabled=False)
        for number in range(200):
            size = 1000 + 37_000 * (number % 11)
            assert cache.set(f"k{number}", b"x" * size)
            assert cache.get(f"k{number}")[1]
            assert cache.get_stats()["total_size_mb"] <= 1
        assert cache.get_stats()["evictions"] > 100

    def test_no_more_goes_than_the_room_that_is_needed(self, make_cache: Any, policy: str) -> None:
        cache = make_cache(max_size_mb=1, eviction_policy=policy, compression_enabled=False)
        for number in range(5):
            cache.set(f"k{number}", b"x" * 200_000)
        assert len(cache) == 5
        cache.set("new", b"x" * 300_000)
        assert len(cache) == 4
        assert cache.get_stats()["evictions"] == 2

    def test_setting_again_evicts_nothing(self, make_cache: Any, policy: str) -> None:
        cache = full(make_cache, policy)
        for _ in range(10):
            cache.set("b", "again")
        assert keys(cache) == "abcd"
        assert cache.get_stats()["evictions"] == 0

    def test_a_value_larger_than_the_cache_is_refused_and_nothing_goes_for_it(
        self, make_cache: Any, policy: str
    ) -> None:
        cache = make_cache(max_size_mb=1, eviction_policy=policy, compression_enabled=False)
        for key in "abc":
            cache.set(key, b"x" * 100_000)
        assert cache.set("large", b"x" * (1 << 20)) is False
        assert cache.get("large") == (None, False)
        assert keys(cache) == "abc"
        stats = cache.get_stats()
        assert (stats["evictions"], stats["oversize_rejects"]) == (0, 1)

    def test_a_value_too_large_takes_its_own_older_one_with_it(
        self, make_cache: Any, policy: str
    ) -> None:
        # Otherwise the next reader would be told what its writer has replaced.
        cache = make_cache(max_size_mb=1, eviction_policy=policy, compression_enabled=False)
        cache.set("k", "old")
        cache.set("other", 1)
        assert cache.set("k", b"x" * (1 << 20)) is False
        assert cache.get("k") == (None, False)
        assert cache.keys() == ["other"]

    def test_what_has_expired_goes_before_what_has_not(
        self, make_cache: Any, clock: ManualClock, policy: str
    ) -> None:
        cache = make_cache(max_entries=4, eviction_policy=policy)
        cache.set("a", 1)
        cache.set("b", 1)
        cache.set("over", 1, ttl=5, priority=10)
        cache.set("c", 1)
        cache.get("over")
        clock.advance(5)
        cache.set("d", 1)
        assert keys(cache) == "abcd"
        stats = cache.get_stats()
        assert (stats["evictions"], stats["expirations"]) == (0, 1)

    def test_a_cache_of_one_entry_works(self, make_cache: Any, policy: str) -> None:
        cache = make_cache(max_entries=1, eviction_policy=policy)
        for key in "abc":
            assert cache.set(key, key)
            assert cache.get(key) == (key, True)
            assert cache.keys() == [key]

    def test_places_of_deleted_entries_are_used_again(self, make_cache: Any, policy: str) -> None:
        cache = full(make_cache, policy)
        cache.delete("b")
        cache.invalidate_by_pattern("c*")
        cache.set("e", 1)
        cache.set("f", 1)
        assert keys(cache) == "adef"
        assert cache.get_stats()["evictions"] == 0
        cache.clear()
        for key in "ghijk":
            cache.set(key, 1)
        assert len(cache) == 4


class TestBoundOnBytes:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda data: data,
            lambda data: "\N{GRINNING FACE}" * (len(data) // 4),
            lambda data: "ж" * (len(data) // 2),
            lambda data: [data],
            lambda data: {"k": {"n": (data,)}},
            lambda data: {data},
            lambda data: bytearray(data),
            lambda data: [bytearray(data)],
            lambda data: data.decode(),
            lambda data: [data.decode() + str(number) for number in range(2)],
            lambda data: collections.deque([data]),
            lambda data: collections.OrderedDict(k=data),
            lambda data: collections.defaultdict(list, {"k": [data]}),
            lambda data: SimpleNamespace(data=data),
            lambda data: Slotted(data),
            lambda data: [Slotted([data])],
            lambda data: array("b", data),
            lambda data: int.from_bytes(data, "big"),
        ],
    )
    @pytest.mark.parametrize("isolation", ["copy", "shared"])
    def test_a_value_is_weighed_with_everything_in_it(
        self, make_cache: Any, wrap: Any, isolation: str
    ) -> None:
        cache = make_cache(max_size_mb=1, compression_enabled=False, isolation=isolation)
        # Not within the assertion, which would print it.
        large, small = wrap(b"x" * 1_500_000), wrap(b"x" * 150_000)
        stored = cache.set("large", large)
        assert stored is False
        stored = cache.set("small", small)
        assert stored is True
        assert 150_000 < cache.get_stats()["total_size_mb"] * (1 << 20) < 700_000

    def test_many_small_parts_count_too(self, make_cache: Any) -> None:
        cache = make_cache(max_size_mb=1, compression_enabled=False)
        assert cache.set("k", list(range(1000, 100_000))) is False
        assert cache.set("k", {str(number): number for number in range(20_000)}) is False
        assert cache.set("k", [{} for _ in range(50_000)]) is False

    def test_every_entry_counts_for_more_than_its_value(self, make_cache: Any) -> None:
        cache = make_cache(max_size_mb=1, max_entries=1_000_000)
        for number in range(20_000):
            cache.set(f"k{number}", None)
        assert len(cache) < 20_000
        assert cache.get_stats()["total_size_mb"] <= 1

    def test_bytes_are_given_back(self, make_cache: Any) -> None:
        cache = make_cache(compression_enabled=False)
        cache.set("a", "x" * 1000)
        one = cache.get_stats()["total_size_mb"]
        cache.set("b", "y" * 1000)
        assert cache.get_stats()["total_size_mb"] == pytest.approx(2 * one)
        cache.set("b", "z" * 1000)
        assert cache.get_stats()["total_size_mb"] == pytest.approx(2 * one)
        cache.delete("a")
        assert cache.get_stats()["total_size_mb"] == pytest.approx(one)
        cache.invalidate_by_pattern("*")
        assert cache.get_stats()["total_size_mb"] == 0


class Slotted:
    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data
