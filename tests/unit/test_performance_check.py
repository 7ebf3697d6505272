"""run_cache_performance_test: its figures are those of what it did, and it cleans up."""

from __future__ import annotations

from typing import Any

import pytest

from velro_cache import OptimizedCacheManager, run_cache_performance_test


async def test_its_figures_are_those_the_cache_counted(cache: OptimizedCacheManager) -> None:
    report = await run_cache_performance_test(cache, iterations=2000)
    stats = cache.get_stats()
    assert report["iterations"] == stats["total_requests"] == 2000
    assert report["cache_hit_rate_percent"] == pytest.approx(stats["hit_rate_percent"])
    assert stats["families"]["auth:gen"]["requests"] == 2000
    assert stats["sets"] == 1000 + stats["cache_misses"]
    assert report["wrong_answers"] == 0
    # About one lookup in a hundred asks for what is not there.
    assert 5 <= stats["cache_misses"] <= 60


async def test_times_are_ordered_and_of_this_world(cache: OptimizedCacheManager) -> None:
    report = await run_cache_performance_test(cache, iterations=500)
    p50, p95, p99 = (report[f"p{n}_response_time_ms"] for n in (50, 95, 99))
    assert 0 < p50 <= p95 <= p99
    assert 0 < report["avg_response_time_ms"] < 100


async def test_the_default_is_a_thousand_lookups(cache: OptimizedCacheManager) -> None:
    report = await run_cache_performance_test(cache)
    assert report["iterations"] == cache.get_stats()["total_requests"] == 1000


async def test_the_targets_of_the_cache_decide(make_cache: Any) -> None:
    easy = make_cache(target_access_time_ms=60_000, target_hit_rate_percent=0)
    report = await run_cache_performance_test(easy, 200)
    assert report["target_access_time_ms"] == 60_000
    assert report["target_hit_rate_percent"] == 0
    assert report["meeting_access_time_target"] is True
    assert report["meeting_hit_rate_target"] is True
    assert report["all_targets_met"] is True

    fast = make_cache(target_access_time_ms=0.000001, target_hit_rate_percent=0)
    report = await run_cache_performance_test(fast, 200)
    assert report["meeting_access_time_target"] is False
    assert report["all_targets_met"] is False

    # Room for ten entries of a thousand: most lookups miss.
    small = make_cache(max_entries=10, target_access_time_ms=60_000)
    report = await run_cache_performance_test(small, 200)
    assert report["cache_hit_rate_percent"] < 60
    assert report["meeting_hit_rate_target"] is False
    assert report["all_targets_met"] is False
    assert report["wrong_answers"] == 0


async def test_what_it_set_is_gone_afterwards_and_the_rest_untouched(
    cache: OptimizedCacheManager,
) -> None:
    cache.set_generation_access("g", "u", "mine")
    cache.set_user_profile("u", "mine")
    cache.set("performance-test", "mine")
    await run_cache_performance_test(cache, 300)
    assert sorted(cache.keys()) == [
        "auth:gen:g:user:u:access",
        "auth:user:u:profile",
        "performance-test",
    ]
    assert cache.get_generation_access("g", "u") == ("mine", True)


async def test_it_cleans_up_after_an_error_too(cache: OptimizedCacheManager) -> None:
    class Breaking(OptimizedCacheManager):
        def get_generation_access(self, *_: Any) -> Any:
            raise RuntimeError("broken")

    broken = Breaking()
    with pytest.raises(RuntimeError, match="broken"):
        await run_cache_performance_test(broken, 10)
    assert len(broken) == 0


async def test_a_cache_that_lies_is_found_out() -> None:
    class Lying(OptimizedCacheManager):
        def get_generation_access(self, *_: Any) -> Any:
            return {"granted": True, "generation_id": "another"}, True

    report = await run_cache_performance_test(Lying(), 100)
    assert report["wrong_answers"] == 100
    assert report["all_targets_met"] is False


async def test_the_sequence_is_repeatable(make_cache: Any) -> None:
    rates = []
    for seed in (1, 1, 2, 3, 4):
        # Which entries the adaptive policy keeps depends on hashes, which no two caches share.
        cache = make_cache(max_entries=100, eviction_policy="lru")
        report = await run_cache_performance_test(cache, 500, seed=seed)
        rates.append(report["cache_hit_rate_percent"])
    assert rates[0] == rates[1]
    assert len(set(rates)) > 1


@pytest.mark.parametrize("wrong", [0, -1, -1000])
async def test_no_iterations_are_refused(cache: OptimizedCacheManager, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, not {wrong}"):
        await run_cache_performance_test(cache, wrong)
    assert len(cache) == 0


@pytest.mark.parametrize("wrong", ["100", None, 1.5])
async def test_iterations_must_be_a_count(cache: OptimizedCacheManager, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await run_cache_performance_test(cache, wrong)
    assert len(cache) == 0


async def test_a_single_iteration_is_enough(cache: OptimizedCacheManager) -> None:
    report = await run_cache_performance_test(cache, 1)
    assert report["iterations"] == 1
    assert report["p50_response_time_ms"] == report["p99_response_time_ms"]
