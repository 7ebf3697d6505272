"""From ``get_stats()`` and the settings to what may be shown."""

import dataclasses
import os
import platform
from typing import Any, Final

from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi.admin.answers import (
    ConfigAnswer,
    FamilyFigures,
    L2Figures,
    LatencyFigures,
    LifeFigures,
    LogFigures,
    PerformanceTargets,
    SharingFigures,
    StatsAnswer,
)
from velro_cache.manager import OptimizedCacheManager

__all__ = ["config_answer", "performance_targets", "stats_answer"]

_NANOS_PER_MILLI: Final = 1_000_000


def stats_answer(cache: OptimizedCacheManager) -> StatsAnswer:
    """What this process has counted. Cost: that of ``get_stats()``."""
    stats = cache.get_stats()
    return StatsAnswer(
        cache=stats["name"],
        host=platform.node(),
        process_id=os.getpid(),
        is_stopped=cache.is_stopped,
        total_requests=stats["total_requests"],
        cache_hits=stats["cache_hits"],
        cache_misses=stats["cache_misses"],
        hit_rate_percent=stats["hit_rate_percent"],
        average_access_time_ms=stats["average_access_time_ms"],
        total_entries=stats["total_entries"],
        max_entries=stats["max_entries"],
        total_size_mb=stats["total_size_mb"],
        max_size_mb=stats["max_size_mb"],
        sets=stats["sets"],
        evicted_entries=stats["evictions"],
        expired_entries=stats["expirations"],
        invalidated_entries=stats["invalidations"],
        stale_rejects=stats["stale_rejects"],
        nested_rejects=stats["nested_rejects"],
        oversize_rejects=stats["oversize_rejects"],
        lock_timeouts=stats["lock_timeouts"],
        fail_closed_lookups=stats["fail_closed"],
        stale_served_lookups=stats["stale_served"],
        miss_reasons=stats["miss_reasons"],
        eviction_policy=stats["eviction_policy"],
        latency=LatencyFigures(**stats["latency_ns"]),
        families={
            name: FamilyFigures(
                requests=family["requests"],
                hits=family["hits"],
                hit_rate_percent=100.0 * family["hits"] / family["requests"],
            )
            for name, family in stats["families"].items()
        },
        lives=[LifeFigures(**life) for life in stats["lives"]],
        sharing=SharingFigures(
            state=stats["sharing"]["state"],
            not_shared_because=stats["sharing"]["not_shared_because"],
        ),
        log=None if stats["log"] is None else _log_figures(stats["log"]),
        l2=L2Figures(**{name: stats["l2"].get(name, 0) for name in L2Figures.model_fields}),
    )


def performance_targets(cache: OptimizedCacheManager) -> PerformanceTargets:
    """What was to be reached, and what was."""
    stats = cache.get_stats()
    same = set(PerformanceTargets.model_fields) & set(stats)
    return PerformanceTargets(
        cache=stats["name"],
        process_id=os.getpid(),
        p99_access_time_ms=stats["latency_ns"]["p99_ns"] / _NANOS_PER_MILLI,
        is_measured=stats["total_requests"] > 0,
        **{name: stats[name] for name in same},
    )


def config_answer(config: OptimizedCacheConfig) -> ConfigAnswer:
    """The settings that may be shown: those that a configuration shows of itself."""
    fields = dataclasses.fields(config)
    hidden = [field.name for field in fields if not field.repr]
    return ConfigAnswer(
        cache=config.name,
        settings={
            field.name: _plain(getattr(config, field.name)) for field in fields if field.repr
        },
        hidden_settings=[name for name in hidden if getattr(config, name) is not None],
    )


def _plain(value: Any) -> Any:
    # The name of a policy is a text, and something more.
    return str(value) if isinstance(value, str) else value


def _log_figures(log: dict[str, Any]) -> LogFigures:
    return LogFigures(
        has_lease=log["has_lease"],
        lease_age_ms=log["lease_age_ms"],
        lag_entries=log["lag"],
        unpublished_invalidations=log["unpublished"],
        published_invalidations=log["published"],
        applied_entries=log["applied"],
        gaps=log["gaps"],
        floors=log["floors"],
        garbage_entries=log["garbage"],
        errors=log["errors"],
        has_error=log["last_error"] is not None,
    )
