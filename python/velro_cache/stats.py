"""Statistics under the names of the documentation."""

from typing import Any, Final

from velro_cache.config import OptimizedCacheConfig

__all__ = ["as_documented"]

_PERMISSION_CHECKS = ("auth:gen", "auth:project", "auth:team", "auth:call")
_MIB = 1024 * 1024
_NANOS_PER_MILLI = 1_000_000


def as_documented(
    figures: dict[str, Any], sharing: dict[str, Any], config: OptimizedCacheConfig
) -> dict[str, Any]:
    """Lay the engine's figures out as the documentation names them.

    Args:
        figures: What the engine counted.
        sharing: How invalidations are shared.
        config: Targets and limits to set beside them.

    Returns:
        The documented keys, and: ``invalidations``, ``stale_rejects`` (values not stored because
        they were invalidated while being loaded), ``nested_rejects`` (results not stored because
        of what they were made of, by cause), ``oversize_rejects``, ``lock_timeouts``,
        ``sets``, ``latency_ns`` (percentiles of sampled lookups, measured inside the engine) and
        ``families`` (requests and hits by kind of key) and ``lives`` (hit rates by how long values
        were to live); ``fail_closed`` (valid permissive entries
        not served for want of news from the log), ``stale_served`` (served all the same, because
        ``on_silence`` says so); ``miss_reasons`` (misses by cause); ``sharing``
        (``state``: private, shared or lost; ``path``; ``not_shared_because``) and ``log``
        (None without one). :meth:`OptimizedCacheManager.get_stats` adds ``l2``.

        A target counts as met while there is nothing to measure yet.
    """
    counters, samples = figures["counters"], figures["latency"]["samples"]
    hits, misses = figures["hits"], figures["misses"]
    total = hits + misses
    families = {family["name"]: family for family in figures["families"]}
    auth = [family for name, family in families.items() if name.startswith("auth:")]
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
        "auth_requests": sum(family["hits"] + family["misses"] for family in auth),
        "auth_cache_hits": sum(family["hits"] for family in auth),
        "uuid_validation_hits": families["uuid:validation"]["hits"],
        "permission_check_hits": sum(families[name]["hits"] for name in _PERMISSION_CHECKS),
        "target_access_time_ms": config.target_access_time_ms,
        "target_hit_rate_percent": config.target_hit_rate_percent,
        "meeting_access_time_target": average_ms <= config.target_access_time_ms,
        "meeting_hit_rate_target": not total or hit_rate_percent >= config.target_hit_rate_percent,
        "max_size_mb": config.max_size_mb,
        "max_entries": config.max_entries,
        "eviction_policy": str(config.eviction_policy),
        "compression_enabled": config.compression_enabled,
        "sets": figures["sets"],
        "invalidations": counters["invalidations"],
        "stale_rejects": counters["stale_rejects"],
        "nested_rejects": dict(figures["nested_rejects"]),
        "oversize_rejects": counters["oversize_rejects"],
        "fail_closed": counters["fail_closed"],
        "stale_served": counters["stale_served"],
        "miss_reasons": dict(counters["misses_by_reason"]),
        "lock_timeouts": figures["lock_timeouts"],
        "latency_ns": dict(figures["latency"]),
        "families": {
            name: {"requests": family["hits"] + family["misses"], "hits": family["hits"]}
            for name, family in families.items()
            if family["hits"] + family["misses"]
        },
        "lives": [_life(**life, samples=samples) for life in figures["lives"]],
        "sharing": {name: figure for name, figure in sharing.items() if name != "log"},
        "log": sharing.get("log"),
    }


_FEWEST_SAMPLES: Final = 30
"""From fewer sampled lookups nothing can be told."""


def _life(
    at_most_seconds: int | None, sets: int, estimated_hits: int, samples: int
) -> dict[str, Any]:
    """Tell of the values that were to live about as long.

    A value that was stored stands for the lookup that had missed.
    """
    lookups = sets + estimated_hits if samples >= _FEWEST_SAMPLES else 0
    return {
        "ttl_at_most_seconds": at_most_seconds,
        "sets": sets,
        "estimated_hits": estimated_hits,
        "estimated_hit_rate_percent": 100.0 * estimated_hits / lookups if lookups else None,
    }
