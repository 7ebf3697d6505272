"""What figures suggest, and that they suggest nothing while there are too few of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.recommendations import Evidence, Finding, recommend

REASONS = ("cold", "expired", "evicted", "invalidated", "stale", "too_large", "lease")
LOG = {"has_lease": True, "lag": 0, "unpublished": 0, "garbage": 0}
GOOD: dict[str, Any] = {
    "total_requests": 100_000,
    "cache_hits": 99_000,
    "cache_misses": 1000,
    "hit_rate_percent": 99.0,
    "target_hit_rate_percent": 95.0,
    "meeting_hit_rate_target": True,
    "average_access_time_ms": 0.001,
    "target_access_time_ms": 5.0,
    "meeting_access_time_target": True,
    "total_entries": 10,
    "max_entries": 100,
    "total_size_mb": 1.0,
    "max_size_mb": 128,
    "sets": 1000,
    "evictions": 0,
    "oversize_rejects": 0,
    "stale_rejects": 0,
    "lock_timeouts": 0,
    "stale_served": 0,
    "miss_reasons": {**dict.fromkeys(REASONS, 0), "cold": 1000},
    "families": {"auth:user": {"requests": 100_000, "hits": 99_000}},
    "sharing": {"state": "shared"},
    "log": LOG,
}
LOW = {"hit_rate_percent": 50.0, "meeting_hit_rate_target": False, "cache_misses": 50_000}


def misses(**counts: int) -> dict[str, dict[str, int]]:
    """Misses by cause."""
    return {"miss_reasons": {**GOOD["miss_reasons"], **counts}}


def what_if(size: tuple[float, float, float], ttl: tuple[float, float, float]) -> dict[str, Any]:
    """Estimates for a half, as it is, and double."""
    return {
        "sampled_keys": 100,
        "sampling_rate": 0.01,
        "lookups": 100_000,
        "measured_hit_rate": 0.6,
        "estimates": [
            {"change": change, "factor": factor, "estimated_hit_rate": rate}
            for change, rates in (("size", size), ("ttl", ttl))
            for factor, rate in zip((0.5, 1.0, 2.0), rates, strict=True)
        ],
    }


def found(change: dict[str, Any] | None = None, **more: Any) -> list[Finding]:
    settings = more.pop("settings", OptimizedCacheConfig())
    return recommend(Evidence({**GOOD, **(change or {})}, settings, **more))


def codes(change: dict[str, Any] | None = None, **more: Any) -> list[str]:
    return [finding.code for finding in found(change, **more)]


def test_nothing_is_suggested_where_all_is_well() -> None:
    assert found() == []
    assert found({"log": None}) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sharing": {"state": "lost"}}, "table_lost"),
        ({"sharing": {"state": "private"}}, "table_private"),
        ({"log": LOG | {"has_lease": False}}, "log_silent"),
        ({"log": LOG | {"lag": 5000}}, "log_behind"),
        ({"log": LOG | {"unpublished": 3}}, "invalidations_unpublished"),
        ({"log": LOG | {"garbage": 1}}, "log_garbage"),
        ({"stale_served": 1}, "stale_served"),
        (misses(lease=5000), "lease_misses"),
        ({"evictions": 500}, "cache_too_small"),
        ({"total_entries": 99}, "cache_nearly_full"),
        ({"oversize_rejects": 1}, "values_too_large"),
        ({"stale_rejects": 500}, "stale_loads"),
        ({"lock_timeouts": 1}, "lock_timeouts"),
        ({"meeting_access_time_target": False}, "lookups_slow"),
        (LOW, "hit_rate_low"),
        ({"total_requests": 999}, "too_few_lookups"),
    ],
)
def test_each_figure_has_its_finding(change: dict[str, Any], code: str) -> None:
    assert codes(change) == [code]


def test_it_is_told_what_runs_short() -> None:
    (by_entries,) = found({"evictions": 500, "total_entries": 100})
    (by_memory,) = found({"evictions": 500, "total_size_mb": 128.0})
    assert (by_entries.action, by_memory.action) == ("Raise max_entries.", "Raise max_size_mb.")


def test_the_most_frequent_cause_of_misses_is_told() -> None:
    expired = found({**LOW, **misses(expired=40_000)})
    assert [finding.code for finding in expired] == ["hit_rate_low", "lives_too_short"]
    assert "Most misses are expired" in expired[0].detail
    assert codes({**LOW, **misses(invalidated=40_000)}) == [
        "hit_rate_low",
        "misses_by_invalidation",
    ]


def test_the_worst_of_several_busy_kinds_is_told() -> None:
    families = {
        "auth:user": {"requests": 50_000, "hits": 49_000},
        "auth:gen": {"requests": 45_000, "hits": 9_000},
        "session": {"requests": 10, "hits": 0},
    }
    (finding,) = found({"families": families})
    assert finding.code == "kind_hit_rate_low"
    assert "auth:gen" in finding.title


def test_a_private_table_that_was_asked_for_is_no_finding() -> None:
    settings = OptimizedCacheConfig(share_invalidations=False)
    assert codes({"sharing": {"state": "private"}}, settings=settings) == []


class TestEstimates:
    FLAT = (0.6, 0.6, 0.6)

    def test_more_room_is_suggested_only_where_it_helps(self) -> None:
        full = {"evictions": 500, "total_entries": 100}
        helps = what_if((0.5, 0.6, 0.65), (0.5, 0.6, 0.61))
        (finding,) = found(full, what_if=helps)
        assert finding.code == "cache_too_small"
        assert "about 5.0 points" in finding.detail
        useless = what_if((0.5, 0.6, 0.61), (0.5, 0.6, 0.61))
        assert codes(full, what_if=useless) == []

    def test_memory_that_is_of_no_use_is_told(self) -> None:
        large = {"total_size_mb": 100.0}
        assert codes(large, what_if=what_if((0.598, 0.6, 0.6), (0.5, 0.6, 0.61))) == [
            "cache_too_large"
        ]
        assert codes(large, what_if=what_if((0.59, 0.6, 0.6), (0.5, 0.6, 0.61))) == []
        # Nothing to be given back.
        assert codes({}, what_if=what_if(self.FLAT, (0.5, 0.6, 0.61))) == []

    def test_lives_that_are_too_short_or_too_long_are_told(self) -> None:
        expired = misses(expired=500)
        assert codes(expired, what_if=what_if(self.FLAT, (0.5, 0.6, 0.7))) == ["lives_too_short"]
        assert codes(expired, what_if=what_if(self.FLAT, (0.599, 0.6, 0.6))) == ["lives_too_long"]
        # No life was ever over: nothing is known of shorter ones.
        assert codes(what_if=what_if(self.FLAT, self.FLAT)) == []

    def test_an_estimate_that_misses_what_is_measured_is_no_guide(self) -> None:
        wrong = what_if((0.1, 0.3, 0.9), (0.1, 0.3, 0.9))
        assert codes({"evictions": 5}, what_if=wrong) == []

    def test_what_is_not_known_suggests_nothing(self) -> None:
        nothing: Any = (None, None, None)
        assert codes(what_if=what_if(nothing, nothing)) == []


def test_a_fall_of_the_hit_rate_is_told() -> None:
    history = {"hits": [None, 600, 200], "misses": [None, 300, 200]}
    assert codes(history=history) == ["hit_rate_fell"]
    # Too few.
    assert codes(history={"hits": [1], "misses": [99]}) == []
    assert codes(history={"hits": [970], "misses": [130]}) == ["hit_rate_fell"]
    assert codes(history={"hits": [970], "misses": [60]}) == []


def test_one_hot_key_is_told() -> None:
    def key(requests: int, error: int = 0) -> dict[str, Any]:
        name = f"auth:user:#{requests}"
        return {"key": name, "estimated_requests": requests, "error_bound": error}

    (finding,) = found(top_keys=[key(60_000), key(10_000)])
    assert finding.code == "one_hot_key"
    assert "auth:user:#60000" in finding.detail
    # Perhaps it is not so many; they are few; there are others.
    assert codes(top_keys=[key(60_000, 50_000), key(10_000)]) == []
    assert codes(top_keys=[key(900), key(10)]) == []
    assert codes(top_keys=[key(60_000), key(60_000)]) == []


def test_denials_beyond_their_bound_are_told() -> None:
    assert codes(denials={"kept": 100, "not_kept": 900}) == ["denials_not_kept"]
    assert codes(denials={"kept": 10, "not_kept": 20}) == []
    assert codes(denials={"kept": 1000, "not_kept": 20}) == []


def test_the_most_urgent_comes_first() -> None:
    everything = {
        "sharing": {"state": "lost"},
        "log": LOG | {"lag": 9000},
        "total_entries": 99,
        "oversize_rejects": 1,
    }
    severities = [finding.severity for finding in found(everything)]
    assert severities == ["critical", "warning", "warning", "info"]


count = st.integers(0, 10**12)
COUNTS = ("sets", "evictions", "oversize_rejects", "stale_rejects", "stale_served")


@given(
    counts=st.fixed_dictionaries(dict.fromkeys(COUNTS, count)),
    reasons=st.fixed_dictionaries(dict.fromkeys(REASONS, count)),
    lookups=st.integers(0, 999),
    rates=st.tuples(*[st.none() | st.floats(0, 1)] * 3),
)
def test_few_lookups_say_so_and_nothing_of_rates(
    counts: dict[str, int],
    reasons: dict[str, int],
    lookups: int,
    rates: tuple[float, float, float],
) -> None:
    change = {**counts, "miss_reasons": reasons, "total_requests": lookups, **LOW}
    told = set(codes(change, what_if=what_if(rates, rates)))
    assert "too_few_lookups" in told
    shares = {"hit_rate_low", "lease_misses", "lives_too_short", "lives_too_long", "one_hot_key"}
    assert not told & {*shares, "cache_too_small", "kind_hit_rate_low", "misses_by_invalidation"}


def test_the_figures_of_a_real_cache_are_understood(cache: OptimizedCacheManager) -> None:
    cache.set("a", 1)
    cache.get("a")
    evidence = Evidence(
        cache.get_stats(), cache.config, history=cache.get_history(), top_keys=cache.get_top_keys()
    )
    assert [finding.code for finding in recommend(evidence)] == ["too_few_lookups"]
