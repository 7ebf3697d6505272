"""Lives that are chosen: by what they are learned from, and within which bounds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache import ConfigError, OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock
from velro_cache.freshness import Freshness
from velro_cache.freshness.adaptive import context_of
from velro_cache.freshness.change_rate import ChangeRate
from velro_cache.freshness.fingerprints import fingerprint
from velro_cache.freshness.life import best_life_seconds

MakeCache = Callable[..., OptimizedCacheManager]

rates = st.floats(1e-9, 1e3)


def changing(rate: ChangeRate, every: float, looks: int, change: Callable[[int], bool]) -> None:
    for number in range(looks):
        rate.looked(every, changed=change(number))


class TestChangeRate:
    def test_says_nothing_after_a_few_looks(self) -> None:
        rate = ChangeRate()
        changing(rate, 60, 7, lambda _: True)
        assert rate.changes_per_second is None

    def test_is_zero_for_what_never_changes(self) -> None:
        rate = ChangeRate()
        changing(rate, 60, 100, lambda _: False)
        assert rate.changes_per_second == 0

    @pytest.mark.parametrize("true_rate", [0.0002, 0.002, 0.01, 0.03])
    def test_comes_near_the_truth(self, true_rate: float) -> None:
        chance, estimates = random.Random(7), []  # noqa: S311 - no secret
        for _ in range(200):
            rate = ChangeRate()
            changing(rate, 60, 400, lambda _: chance.random() < 1 - math.exp(-true_rate * 60))
            estimates.append(rate.changes_per_second or 0.0)
        mean = sum(estimates) / len(estimates)
        assert 0.85 * true_rate < mean < 1.2 * true_rate

    def test_follows_a_change_of_habits(self) -> None:
        rate = ChangeRate()
        changing(rate, 60, 1000, lambda _: False)
        changing(rate, 60, 200, lambda number: number % 2 == 0)
        busy = rate.changes_per_second
        assert busy is not None
        assert busy > 0.005
        changing(rate, 60, 500, lambda _: False)
        assert (rate.changes_per_second or 0.0) < busy / 100

    @pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
    def test_leaves_out_what_a_clock_cannot_mean(self, seconds: float) -> None:
        rate = ChangeRate()
        changing(rate, seconds, 100, lambda _: True)
        assert (rate.looks, rate.changes_per_second) == (0, None)

    def test_counts_uses(self) -> None:
        rate = ChangeRate()
        assert rate.uses_per_second == 0
        changing(rate, 100, 50, lambda _: False)
        for _ in range(50):
            rate.used(1, 9)
        assert rate.uses_per_second == pytest.approx(0.1)

    def test_a_counter_that_began_anew_counts_as_nothing(self) -> None:
        rate = ChangeRate()
        changing(rate, 100, 50, lambda _: False)
        rate.used(10, -1_000_000)
        assert rate.uses_per_second == pytest.approx(0.01)


class TestBestLife:
    @given(changes=rates, uses=rates)
    def test_costs_least(self, changes: float, uses: float) -> None:
        def cost(seconds: float) -> float:
            stale = 10 * changes * uses * seconds**2 / 2
            return (1 + stale) / (1 + uses * seconds)

        best = best_life_seconds(changes, uses)
        assert best > 0
        assert cost(best) <= cost(best * 1.1) * (1 + 1e-9)
        assert cost(best) <= cost(best / 1.1) * (1 + 1e-9)

    @given(changes=rates, uses=rates)
    def test_is_shorter_for_what_changes_or_is_used_more(self, changes: float, uses: float) -> None:
        best = best_life_seconds(changes, uses)
        assert best_life_seconds(changes * 2, uses) < best
        assert best_life_seconds(changes, uses * 2) <= best

    def test_of_what_never_changes(self) -> None:
        assert best_life_seconds(0, 5) == math.inf
        assert best_life_seconds(0.01, 0) == pytest.approx(10)


class TestFingerprint:
    @pytest.mark.parametrize(
        ("one", "other"),
        [(1, True), (1, 1.0), ("1", 1), ((1,), [1]), (None, False), ({"a": 1}, {"a": 2})],
    )
    def test_differs_for_other_values(self, one: object, other: object) -> None:
        assert fingerprint(one) != fingerprint(other)
        assert fingerprint(one) is not None

    def test_is_the_same_for_equal_ones(self) -> None:
        assert fingerprint({"a": [1, "x"]}) == fingerprint({"a": [1, "".join(["x"])]})

    def test_is_none_for_what_cannot_be_told(self) -> None:
        class Loud:
            def __repr__(self) -> str:
                pytest.fail("code of the value ran")

        assert fingerprint(Loud()) is None
        assert fingerprint([Loud()]) is None
        assert fingerprint("x" * 100_000) is None
        assert fingerprint("\ud800") is not None


NAMED = Freshness(context="product")


@pytest.mark.parametrize("context", ["", "a b", "x" * 81, "é", "a\n", 7, b"a"])
def test_a_context_is_a_name(context: Any) -> None:
    with pytest.raises(ConfigError, match="context"):
        Freshness(context=context)


@pytest.mark.parametrize(
    ("key", "context"),
    [
        ("auth:user:7:profile", "auth:user"),
        ("auth:gen:7:user:8:access", "auth:gen"),
        ("auth:call:app.can_read#1:abcdef", "auth:call:app.can_read#1"),
        ("uuid:validation:x:context:y", "uuid:validation"),
        ("session:7:data", "(others)"),
        ("eve@example.com:profile", "(others)"),
        ("somebody@example.com", "(others)"),
        ("", "(others)"),
    ],
)
def test_context_of_a_key_tells_nobody_s_name(key: str, context: str) -> None:
    assert context_of(key) == context


class Source:
    """Values that change when they are told to, in a cache whose lives are chosen."""

    def __init__(self, cache: OptimizedCacheManager, clock: ManualClock, **asked: Any) -> None:
        self.cache = cache
        self.clock = clock
        named = (
            {} if "freshness" in asked or not cache.config.adaptive_ttl else {"freshness": NAMED}
        )
        self.asked: dict[str, Any] = {"permissive": False, **named, **asked}
        self.version = 0

    def load(self) -> float:
        """Load once and return the life that was given."""
        self.cache.get_or_load("product:1", lambda: {"version": self.version}, **self.asked)
        left = self.cache.explain("product:1")["seconds_left"]
        assert isinstance(left, float)
        return left

    def loads(self, count: int, *, changing: bool) -> float:
        life = self.load()
        for _ in range(count):
            self.version += changing
            self.clock.advance(life + 1)
            life = self.load()
        return life


class TestLives:
    def test_are_as_ever_where_nobody_asked(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        source = Source(cache, clock)
        assert source.loads(20, changing=True) == 300
        assert cache.explain("product:1")["adaptive_ttl"] is None
        assert cache.get_stats()["adaptive_ttl"] == {}

    def test_shrink_where_values_change(self, make_cache: MakeCache, clock: ManualClock) -> None:
        source = Source(make_cache(adaptive_ttl=True), clock)
        assert source.load() == 300
        assert source.loads(30, changing=True) < 60

    def test_grow_where_they_do_not(self, make_cache: MakeCache, clock: ManualClock) -> None:
        source = Source(make_cache(adaptive_ttl=True, adaptive_ttl_max_seconds=1200), clock)
        assert source.loads(30, changing=False) == 1200
        why = source.cache.explain("product:1")["adaptive_ttl"]
        assert why["decided_by"] == "adaptive_ttl_max_seconds"
        assert why["context"] == "product"
        assert (why["min_seconds"], why["max_seconds"]) == (5.0, 1200)

    def test_grow_again_when_values_come_to_rest(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        source = Source(make_cache(adaptive_ttl=True), clock)
        short = source.loads(100, changing=True)
        assert source.loads(1000, changing=False) > 10 * short

    def test_keep_to_their_least(self, make_cache: MakeCache, clock: ManualClock) -> None:
        source = Source(make_cache(adaptive_ttl=True, adaptive_ttl_min_seconds=50), clock)
        assert source.loads(200, changing=True) == 50

    def test_count_invalidations_as_changes(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        source = Source(make_cache(adaptive_ttl=True), clock)
        for _ in range(30):
            source.load()
            clock.advance(20)
            source.cache.delete("product:1")
        assert source.load() < 60

    @pytest.mark.parametrize("permissive", [True, False])
    def test_given_by_a_caller_are_only_cut(
        self, make_cache: MakeCache, clock: ManualClock, permissive: bool
    ) -> None:
        source = Source(make_cache(adaptive_ttl=True), clock, ttl=40, permissive=permissive)
        assert source.loads(30, changing=False) == 40
        why = source.cache.explain("product:1")["adaptive_ttl"]
        assert why["decided_by"] == "the life that was given"
        assert source.loads(100, changing=True) < 40

    def test_of_what_allows_something_are_only_cut(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        source = Source(make_cache(adaptive_ttl=True), clock, permissive=lambda value: True)
        assert source.loads(30, changing=False) == 300
        assert source.loads(100, changing=True) < 100

    def test_shorter_than_the_least_stay_so(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        source = Source(
            make_cache(adaptive_ttl=True, adaptive_ttl_min_seconds=50), clock, ttl=lambda _: 7
        )
        assert source.loads(60, changing=True) == 7

    def test_not_to_be_kept_is_not_kept(self, make_cache: MakeCache) -> None:
        cache = make_cache(adaptive_ttl=True)
        assert cache.get_or_load("product:1", lambda: 1, ttl=lambda _: 0) == 1
        assert "product:1" not in cache
        with pytest.raises(ValueError, match="ttl"):
            cache.get_or_load("product:1", lambda: 1, ttl=-1)

    def test_one_caller_may_want_them_or_not(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        wants = Source(make_cache(), clock, freshness=Freshness(adaptive_ttl=True))
        assert wants.loads(30, changing=True) < 60
        wants_not = Source(
            make_cache(adaptive_ttl=True), clock, freshness=Freshness(adaptive_ttl=False)
        )
        assert wants_not.loads(30, changing=True) == 300

    def test_are_shorter_where_hits_are_many(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        lives = []
        for hits in (0, 200):
            source = Source(make_cache(adaptive_ttl=True), clock)
            for number in range(60):
                source.version = number // 10
                source.load()
                for _ in range(hits):
                    source.cache.get_value("product:1")
                clock.advance(3700)
            lives.append(source.load())
        assert lives[1] < lives[0] / 2

    def test_survive_values_that_tell_nothing(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        cache = make_cache(adaptive_ttl=True, isolation="shared")
        for _ in range(20):
            cache.get_or_load("product:1", object)
            clock.advance(301)
        assert cache.get_stats()["adaptive_ttl"]["(others)"]["looks"] == 0

    def test_learn_of_so_many_contexts(self, make_cache: MakeCache) -> None:
        cache = make_cache(adaptive_ttl=True)
        for number in range(200):
            named = Freshness(context=f"kind-{number}")
            cache.get_or_load(f"{number}", lambda: 1, freshness=named)
        assert len(cache.get_stats()["adaptive_ttl"]) == 65

    @given(
        steps=st.lists(
            st.tuples(
                st.booleans(),
                st.sampled_from([None, 3.0, 20.0, 5000.0]),
                st.booleans(),
                st.floats(0.01, 5000),
            ),
            max_size=60,
        )
    )
    def test_stay_within_their_bounds(
        self, steps: list[tuple[bool, float | None, bool, float]]
    ) -> None:
        clock = ManualClock()
        config = OptimizedCacheConfig(
            adaptive_ttl=True,
            adaptive_ttl_min_seconds=10,
            adaptive_ttl_max_seconds=900,
            share_invalidations=False,
        )
        source = Source(OptimizedCacheManager(config, clock=clock), clock)
        for changes, ttl, allows, pause in steps:
            source.version += changes
            source.asked = {"ttl": ttl, "permissive": allows}
            if pause > 4000:
                source.cache.delete("product:1")
            is_loaded = "product:1" not in source.cache
            left = source.load()
            if is_loaded:
                cap = 900.0 if ttl is None else min(ttl, 3600.0)
                if ttl is None and allows:
                    cap = 300.0
                least = min(10.0, cap)
                assert least - 0.01 <= left <= cap
            clock.advance(pause)


class TestBadSettings:
    @pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "5", None])
    def test_least(self, bad: Any) -> None:
        with pytest.raises(ConfigError, match="adaptive_ttl_min_seconds"):
            OptimizedCacheConfig(adaptive_ttl_min_seconds=bad)

    @pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "5", 3601])
    def test_most(self, bad: Any) -> None:
        with pytest.raises(ConfigError, match="adaptive_ttl_max_seconds"):
            OptimizedCacheConfig(adaptive_ttl_max_seconds=bad)

    def test_least_above_most(self) -> None:
        with pytest.raises(ConfigError, match="adaptive_ttl_min_seconds"):
            OptimizedCacheConfig(
                adaptive_ttl=True, adaptive_ttl_min_seconds=100, adaptive_ttl_max_seconds=50
            )

    def test_from_the_environment(self) -> None:
        config = OptimizedCacheConfig.from_env(
            environ={
                "VELRO_CACHE_ADAPTIVE_TTL": "true",
                "VELRO_CACHE_ADAPTIVE_TTL_MAX_SECONDS": "none",
                "VELRO_CACHE_ADAPTIVE_TTL_MIN_SECONDS": "2.5",
            }
        )
        assert config.adaptive_ttl_bounds == (2.5, 3600)
