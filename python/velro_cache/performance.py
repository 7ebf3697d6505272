"""A quick check that a cache meets its targets on this machine."""

import random
import statistics
import time
from typing import Any

from velro_cache.manager import OptimizedCacheManager

__all__ = ["run_cache_performance_test"]

_USERS = 200
_GENERATIONS_PER_USER = 5
_EXPONENT = 0.99


async def run_cache_performance_test(
    cache_manager: OptimizedCacheManager, iterations: int = 1000, *, seed: int = 1
) -> dict[str, Any]:
    """Measure authorization lookups the way a service makes them.

    The entries a service would have warmed (200 users with five generations each) are set, then
    looked up ``iterations`` times with a skew as real traffic has it (Zipf, exponent 0.99); about
    one lookup in a hundred asks for what is not there and sets it. Everything it set is removed
    afterwards. Every answer is compared with what was set.

    Args:
        cache_manager: The cache to measure. Its other entries are left alone, as far as it has
            room for 1,000 more.
        iterations: Lookups to make, at least 1.
        seed: Makes the sequence of lookups repeatable.

    Returns:
        ``iterations``, ``avg_response_time_ms``, ``p50_response_time_ms``,
        ``p95_response_time_ms``, ``p99_response_time_ms``, ``cache_hit_rate_percent``,
        ``wrong_answers``, the two targets, ``meeting_access_time_target``,
        ``meeting_hit_rate_target`` and ``all_targets_met``. Times are those seen by the caller,
        the call itself and the reading of the clock included.

    Raises:
        ValueError: ``iterations`` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    run = f"performance-test-{time.monotonic_ns()}"
    pairs = [
        (f"{run}-generation-{user}-{number}", f"{run}-user-{user}")
        for user in range(_USERS)
        for number in range(_GENERATIONS_PER_USER)
    ]
    chance.shuffle(pairs)
    weights = [1.0 / (rank + 1) ** _EXPONENT for rank in range(len(pairs))]
    for generation_id, user_id in pairs:
        cache_manager.set_generation_access(generation_id, user_id, _decision(generation_id))
    times_ns: list[int] = []
    hits = wrong = 0
    try:
        for number, (generation_id, user_id) in enumerate(
            chance.choices(pairs, weights, k=iterations)
        ):
            if chance.random() < 0.01:
                generation_id = f"{generation_id}-new-{number}"
            start = time.perf_counter_ns()
            value, hit = cache_manager.get_generation_access(generation_id, user_id)
            times_ns.append(time.perf_counter_ns() - start)
            hits += hit
            if hit:
                wrong += value != _decision(generation_id)
            else:
                decision = _decision(generation_id)
                cache_manager.set_generation_access(generation_id, user_id, decision)
    finally:
        cache_manager.invalidate_by_pattern(f"auth:gen:{run}-*")
    return _report(cache_manager, times_ns, hits, wrong)


def _decision(generation_id: str) -> dict[str, Any]:
    return {"generation_id": generation_id, "granted": True, "access_method": "direct"}


def _report(
    cache_manager: OptimizedCacheManager, times_ns: list[int], hits: int, wrong: int
) -> dict[str, Any]:
    config = cache_manager.config
    iterations = len(times_ns)
    times_ms = sorted(time_ns / 1e6 for time_ns in times_ns)
    average_ms = statistics.fmean(times_ms)
    hit_rate_percent = 100.0 * hits / iterations
    in_time = average_ms <= config.target_access_time_ms
    often_enough = hit_rate_percent >= config.target_hit_rate_percent
    return {
        "iterations": iterations,
        "avg_response_time_ms": average_ms,
        "p50_response_time_ms": times_ms[iterations // 2],
        "p95_response_time_ms": times_ms[min(iterations - 1, iterations * 95 // 100)],
        "p99_response_time_ms": times_ms[min(iterations - 1, iterations * 99 // 100)],
        "cache_hit_rate_percent": hit_rate_percent,
        "wrong_answers": wrong,
        "target_access_time_ms": config.target_access_time_ms,
        "target_hit_rate_percent": config.target_hit_rate_percent,
        "meeting_access_time_target": in_time,
        "meeting_hit_rate_target": often_enough,
        "all_targets_met": in_time and often_enough and not wrong,
    }
