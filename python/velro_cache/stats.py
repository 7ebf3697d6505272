"""Statistics under the names of the documentation."""

from typing import Any

from velro_cache.config import OptimizedCacheConfig

__all__ = ["FAMILIES", "as_documented"]

FAMILIES = (
    "other",
    "auth:user",
    "auth:gen",
    "auth:project",
    "auth:team",
    "auth:call",
    "auth:other",
    "uuid:validation",
    "session",
    "rate_limit",
)
"""Families of keys, in the order in which the engine counts them."""

_PERMISSION_CHECKS = ("auth:gen", "auth:project", "auth:team", "auth:call")
_MIB = 1024 * 1024
_NANOS_PER_MILLI = 1_000_000


def as_documented(figures: dict[str, Any], config: OptimizedCacheConfig) -> dict[str, Any]:
    """Lay the engine's figures out as the documentation names them.

    Args:
        figures: What the engine counted.
        config: Targets and limits to set beside them.

    Returns:
        The documented keys, and: ``invalidations``, ``stale_rejects`` (values not stored because
        they were invalidated while being loaded), ``oversize_rejects``, ``lock_timeouts``,
        ``sets``, ``latency_ns`` (percentiles of sampled lookups, measured inside the engine) and
        ``families`` (requests and hits by kind of key).

        A target counts as met while there is nothing to measure yet.
    """
    counters = figures["counters"]
    hits, misses = counters["hits"], counters["misses"]
    total = hits + misses
    family_hits = dict(zip(FAMILIES, counters["family_hits"], strict=True))
    family_misses = dict(zip(FAMILIES, counters["family_misses"], strict=True))
    auth = [family for family in FAMILIES if family.startswith("auth:")]
    hit_rate_percent = 100.0 * hits / total if total else 0.0
    average_ms = figures["latency"]["mean_ns"] / _NANOS_PER_MILLI
    return {
        "name": config.name,
        "total_requests": total,
        "cache_hits": hits,
        "cache_misses": misses,
        "hit_rate_percent": hit_rate_percent,
        "average_access_time_ms": average_ms,
        "total_entries": figures["entries"],
        "total_size_mb": figures["bytes"] / _MIB,
        "evictions": counters["evictions"],
        "expirations": counters["expirations"],
        "auth_requests": sum(family_hits[f] + family_misses[f] for f in auth),
        "auth_cache_hits": sum(family_hits[f] for f in auth),
        "uuid_validation_hits": family_hits["uuid:validation"],
        "permission_check_hits": sum(family_hits[f] for f in _PERMISSION_CHECKS),
        "target_access_time_ms": config.target_access_time_ms,
        "target_hit_rate_percent": config.target_hit_rate_percent,
        "meeting_access_time_target": average_ms <= config.target_access_time_ms,
        "meeting_hit_rate_target": not total or hit_rate_percent >= config.target_hit_rate_percent,
        "max_size_mb": config.max_size_mb,
        "max_entries": config.max_entries,
        "eviction_policy": str(config.eviction_policy),
        "compression_enabled": config.compression_enabled,
        "sets": counters["sets"],
        "invalidations": counters["invalidations"],
        "stale_rejects": counters["stale_rejects"],
        "oversize_rejects": counters["oversize_rejects"],
        "lock_timeouts": figures["lock_timeouts"],
        "latency_ns": dict(figures["latency"]),
        "families": {
            family: {
                "requests": family_hits[family] + family_misses[family],
                "hits": family_hits[family],
            }
            for family in FAMILIES
            if family_hits[family] + family_misses[family]
        },
    }
