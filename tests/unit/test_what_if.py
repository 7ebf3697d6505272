"""Estimates of other sizes and lives, as Python tells them."""

from __future__ import annotations

import json

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.recommendations import Evidence

KEYS = 3_000


def looped(rounds: int, *, max_entries: int) -> OptimizedCacheManager:
    """Return a cache that was asked for all keys in turn, so many times, and loaded each miss."""
    cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=max_entries))
    for _ in range(rounds):
        for number in range(KEYS):
            if not cache.get(f"film:{number}")[1]:
                cache.set(f"film:{number}", number, 600)
    return cache


def test_a_cache_with_room_for_all_is_told_to_gain_nothing() -> None:
    cache = looped(10, max_entries=10 * KEYS)
    found = cache.get_what_if()
    assert found is not None
    names = {"sampled_keys", "sampling_rate", "lookups", "measured_hit_rate", "estimates"}
    assert found.keys() == names
    assert found["lookups"] == 10 * KEYS
    assert found["measured_hit_rate"] == 0.9
    assert found["sampling_rate"] == 1 / 16
    assert KEYS / 32 < found["sampled_keys"] < KEYS / 8
    told = [(one["change"], one["factor"]) for one in found["estimates"]]
    assert told == [(change, factor) for change in ("size", "ttl") for factor in (0.5, 1.0, 2.0)]
    rates = {one["estimated_hit_rate"] for one in found["estimates"]}
    assert len(rates) == 1
    assert abs(rates.pop() - 0.9) < 0.03


def test_there_is_no_estimate_before_there_is_enough_to_judge_by() -> None:
    assert looped(5, max_entries=10 * KEYS).get_what_if() is None


def test_no_key_and_no_value_is_in_it() -> None:
    told = json.dumps(looped(10, max_entries=10 * KEYS).get_what_if())
    assert "film" not in told


def test_recommendations_rest_on_it() -> None:
    cache = looped(10, max_entries=10 * KEYS)
    evidence = Evidence(stats=cache.get_stats(), settings=cache.config, what_if=cache.get_what_if())
    assert evidence.gain_points("size", 2.0) == 0.0


def test_values_that_are_renewed_before_they_end_are_not_told_to_expire() -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=10 * KEYS))
    for _ in range(10):
        for number in range(KEYS):
            cache.get(f"film:{number}")
            cache.set(f"film:{number}", number, 600)
    found = cache.get_what_if()
    assert found is not None
    assert all(abs(one["estimated_hit_rate"] - 0.9) < 0.03 for one in found["estimates"])
