"""What is counted, under which name, and that the sums are right."""

from __future__ import annotations

import os
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager
from velro_cache._engine import ManualClock

DOCUMENTED = {
    "total_requests",
    "cache_hits",
    "cache_misses",
    "hit_rate_percent",
    "average_access_time_ms",
    "total_entries",
    "total_size_mb",
    "evictions",
    "expirations",
    "auth_requests",
    "auth_cache_hits",
    "uuid_validation_hits",
    "permission_check_hits",
    "target_access_time_ms",
    "target_hit_rate_percent",
    "meeting_access_time_target",
    "meeting_hit_rate_target",
    "max_size_mb",
    "max_entries",
    "eviction_policy",
    "compression_enabled",
}
OURS = {
    "name",
    "sets",
    "invalidations",
    "stale_rejects",
    "nested_rejects",
    "oversize_rejects",
    "lock_timeouts",
    "miss_reasons",
    "latency_ns",
    "families",
    "lives",
    "fail_closed",
    "stale_served",
    "sharing",
    "log",
    "l2",
    "freshness",
    "adaptive_ttl",
    "prediction",
}


def test_the_names_are_the_documented_ones_and_ours(cache: OptimizedCacheManager) -> None:
    assert set(cache.get_stats()) == DOCUMENTED | OURS


def test_a_new_cache_has_counted_nothing(cache: OptimizedCacheManager) -> None:
    stats = cache.get_stats()
    assert stats["families"] == {}
    assert stats["latency_ns"]["samples"] == 0
    assert stats["meeting_access_time_target"] is stats["meeting_hit_rate_target"] is True
    counters = DOCUMENTED | OURS
    counters -= {name for name in counters if name.startswith(("target_", "max_", "meeting_"))}
    counters -= {"eviction_policy", "compression_enabled", "name", "latency_ns", "families"}
    counters -= {"sharing", "log", "l2", "freshness", "adaptive_ttl", "prediction"}
    assert not any(stats["nested_rejects"].values())
    counters -= {"nested_rejects"}
    assert {life["estimated_hit_rate_percent"] for life in stats["lives"]} == {None}
    counters -= {"lives"}
    assert not any(stats["miss_reasons"].values())
    counters -= {"miss_reasons"}
    assert {name: stats[name] for name in counters} == dict.fromkeys(counters, 0)


def test_settings_stand_beside_the_figures(make_cache: Any) -> None:
    cache = make_cache(
        name="api",
        max_size_mb=7,
        max_entries=77,
        eviction_policy="lfu",
        compression_enabled=False,
        target_access_time_ms=1.5,
        target_hit_rate_percent=80.0,
    )
    stats = cache.get_stats()
    assert stats["name"] == "api"
    assert stats["max_size_mb"] == 7
    assert stats["max_entries"] == 77
    assert stats["eviction_policy"] == "lfu"
    assert type(stats["eviction_policy"]) is str
    assert stats["compression_enabled"] is False
    assert stats["target_access_time_ms"] == 1.5
    assert stats["target_hit_rate_percent"] == 80.0


def test_hits_and_misses_add_up(cache: OptimizedCacheManager) -> None:
    cache.set("a", 1)
    for _ in range(6):
        cache.get("a")
    cache.get_value("a")
    cache.get("b")
    cache.get_many(["a", "b", "c"])
    stats = cache.get_stats()
    assert (stats["cache_hits"], stats["cache_misses"]) == (8, 3)
    assert stats["total_requests"] == 11
    assert stats["hit_rate_percent"] == pytest.approx(100 * 8 / 11)
    assert stats["sets"] == 1


async def test_a_load_counts_one_miss_and_one_set(cache: OptimizedCacheManager) -> None:
    cache.get_or_load("a", lambda: 1)
    await cache.aget_or_load("b", lambda: 1)
    stats = cache.get_stats()
    assert (stats["cache_misses"], stats["cache_hits"], stats["sets"]) == (2, 0, 2)
    cache.get_or_load("a", lambda: 1)
    await cache.aget_or_load("b", lambda: 1)
    assert cache.get_stats()["cache_hits"] == 2


def test_hit_rates_are_told_by_the_life_that_values_were_given(make_cache: Any) -> None:
    cache = make_cache(max_ttl_seconds=200_000)
    lives = {"short": 5, "exact": 300, "long": 7200, "longest": 100_000}
    for name, ttl in lives.items():
        cache.get_or_load(name, lambda: 1, ttl=ttl)
    for _ in range(20_000):
        cache.get("exact")
    for _ in range(60_000):
        cache.get("long")
    cache.set("exact", 2, ttl=301)
    told = {life["ttl_at_most_seconds"]: life for life in cache.get_stats()["lives"]}
    assert list(told) == [10, 60, 300, 900, 3600, 86_400, None]
    assert [life["sets"] for life in told.values()] == [1, 0, 1, 1, 0, 1, 1]
    assert told[300]["estimated_hits"] == pytest.approx(20_000, rel=0.3)
    assert told[86_400]["estimated_hits"] == pytest.approx(60_000, rel=0.2)
    assert told[10]["estimated_hit_rate_percent"] == 0.0
    assert told[60]["estimated_hit_rate_percent"] is None
    assert told[300]["estimated_hit_rate_percent"] > 99.9


def test_each_family_of_keys_is_counted_apart(cache: OptimizedCacheManager) -> None:
    cache.set_user_profile("u", 1)
    cache.set_user_permissions("u", 1)
    cache.set_generation_access("g", "u", 1)
    cache.set_project_access("p", "u", 1)
    cache.set_team_role("t", "u", 1)
    cache.set_uuid_validation("x", "c", 1)
    cache.set_session_data("u", 1)
    cache.set_rate_limit("u", "w", 1)
    cache.set("auth:call:f:1", 1)
    cache.set("auth:else", 1)
    cache.set("authentic", 1)
    cache.get_user_profile("u")
    cache.get_user_permissions("u")
    cache.get_user_permissions("nobody")
    cache.get_generation_access("g", "u")
    cache.get_project_access("p", "u")
    cache.get_project_access("p", "nobody")
    cache.get_team_role("t", "u")
    cache.get_uuid_validation("x", "c")
    cache.get_uuid_validation("y", "c")
    cache.get_session_data("u")
    cache.get_rate_limit("u", "w")
    cache.get("auth:call:f:1")
    cache.get("auth:else")
    cache.get("authentic")
    stats = cache.get_stats()
    assert stats["families"] == {
        "auth:user": {"requests": 3, "hits": 2},
        "auth:gen": {"requests": 1, "hits": 1},
        "auth:project": {"requests": 2, "hits": 1},
        "auth:team": {"requests": 1, "hits": 1},
        "uuid:validation": {"requests": 2, "hits": 1},
        "session": {"requests": 1, "hits": 1},
        "rate_limit": {"requests": 1, "hits": 1},
        "auth:call": {"requests": 1, "hits": 1},
        "auth:other": {"requests": 1, "hits": 1},
        "other": {"requests": 1, "hits": 1},
    }
    assert stats["auth_requests"] == 3 + 1 + 2 + 1 + 1 + 1
    assert stats["auth_cache_hits"] == 2 + 1 + 1 + 1 + 1 + 1
    assert stats["uuid_validation_hits"] == 1
    assert stats["permission_check_hits"] == 1 + 1 + 1 + 1
    assert stats["total_requests"] == sum(f["requests"] for f in stats["families"].values())
    assert stats["cache_hits"] == sum(f["hits"] for f in stats["families"].values())


def test_what_leaves_is_counted_by_why_it_left(make_cache: Any, clock: ManualClock) -> None:
    cache = make_cache(max_entries=3, max_size_mb=1, eviction_policy="lru")
    for key in "abcd":
        cache.set(key, key, ttl=10)
    cache.delete("b")
    cache.set("c", "replaced", ttl=10)
    cache.invalidate_by_tags(["none"])
    clock.advance(10)
    cache.get("c")
    cache.sweep()
    stamp = cache.snapshot()
    cache.set("e", 1, tags=["t"])
    cache.set("f", 1)
    cache.invalidate_by_tags(["t"])
    cache.set("e", 1, tags=["t"], stamp=stamp)
    cache.set("large", os.urandom(2_000_000))
    cache.clear()
    stats = cache.get_stats()
    assert stats["evictions"] == 1, "a"
    assert stats["expirations"] == 2, "c by a lookup, d by the sweep"
    assert stats["invalidations"] == 3, "b deleted, e by its tag, f by clear"
    assert stats["stale_rejects"] == 1
    assert stats["oversize_rejects"] == 1
    assert stats["sets"] == 7
    assert stats["total_entries"] == stats["total_size_mb"] == 0


def test_targets_are_met_or_missed_by_the_figures(make_cache: Any) -> None:
    cache = make_cache(target_hit_rate_percent=50.0, target_access_time_ms=60_000)
    cache.set("a", 1)
    cache.get("a")
    cache.get("b")
    assert cache.get_stats()["meeting_hit_rate_target"] is True
    cache.get("b")
    assert cache.get_stats()["meeting_hit_rate_target"] is False
    assert cache.get_stats()["meeting_access_time_target"] is True
    impossible = make_cache(target_access_time_ms=0.000001)
    for _ in range(300):
        impossible.get("a")
    assert impossible.get_stats()["meeting_access_time_target"] is False


def test_times_are_sampled_and_ordered(cache: OptimizedCacheManager) -> None:
    for _ in range(1280):
        cache.get("a")
    latency = cache.get_stats()["latency_ns"]
    assert set(latency) == {"samples", "mean_ns", "p50_ns", "p99_ns", "p999_ns", "max_ns"}
    # One in 128 on average, at random.
    assert 1 <= latency["samples"] <= 60
    assert 0 < latency["p50_ns"] <= latency["p99_ns"] <= latency["p999_ns"] <= latency["max_ns"]
    mean_ms = latency["mean_ns"] / 1e6
    assert cache.get_stats()["average_access_time_ms"] == pytest.approx(mean_ms)
    assert 0 < mean_ms < 1000


def test_figures_are_the_callers_own(cache: OptimizedCacheManager) -> None:
    cache.get("a")
    cache.get_stats()["families"].clear()
    cache.get_stats()["latency_ns"].clear()
    stats = cache.get_stats()
    assert stats["families"]
    assert stats["latency_ns"]


def test_counters_survive_clear_and_restart(cache: OptimizedCacheManager) -> None:
    cache.set("a", 1)
    cache.get("a")
    cache.clear()
    cache.stop()
    cache.start()
    cache.stop()
    assert cache.get_stats()["cache_hits"] == 1
