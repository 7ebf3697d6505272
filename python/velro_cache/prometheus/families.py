"""Each metric of a cache, and how it is read off its statistics."""

from collections.abc import Callable
from typing import Final

from velro_cache.prometheus.family import (
    BREAKER_STATES,
    Family,
    Samples,
    Stats,
    count,
    each,
    level,
    part,
    state,
)

__all__ = ["FAMILIES"]

_MIB: Final = 1024 * 1024
_NANOSECONDS: Final = 1e-9
_MILLISECONDS: Final = 1e-3
_QUANTILES: Final = {"p50": "0.5", "p90": "0.9", "p99": "0.99", "p999": "0.999"}


def _lookups(result: str) -> Callable[[Stats], Samples]:
    def read(stats: Stats) -> Samples:
        for family, figures in stats["families"].items():
            hits = figures["hits"]
            yield family, hits if result == "hits" else figures["requests"] - hits

    return read


def _quantiles(
    of: str, suffix: str, unit: float, inside: str | None = None
) -> Callable[[Stats], Samples]:
    def read(stats: Stats) -> Samples:
        figures = part(stats, inside).get(of) or {}
        if not (figures.get("samples") or figures.get("mean")):
            return  # Nothing was timed yet.
        for short, quantile in _QUANTILES.items():
            if (value := figures.get(f"{short}{suffix}")) is not None:
                yield quantile, value * unit

    return read


def _lives(figure: str) -> Callable[[Stats], Samples]:
    def read(stats: Stats) -> Samples:
        for life in stats["lives"]:
            longest = life["ttl_at_most_seconds"]
            yield "inf" if longest is None else str(longest), life[figure]

    return read


def _chosen(stats: Stats) -> Samples:
    for context, figures in stats["adaptive_ttl"].items():
        yield context, figures["ttl_seconds"]


FAMILIES: Final = (
    Family("counter", "hits", "Lookups answered from memory.", _lookups("hits"), "family"),
    Family("counter", "misses", "Lookups not answered.", _lookups("misses"), "family"),
    each("miss_reasons", "Lookups not answered, by cause.", "miss_reasons", None, "reason"),
    count("sets", "Entries stored, overwrites included.", "sets"),
    Family(
        "counter",
        "life_sets",
        "Entries stored, by the longest life of their class.",
        _lives("sets"),
        "ttl_at_most_seconds",
    ),
    Family(
        "counter",
        "life_hits",
        "Lookups they answered; an estimate.",
        _lives("estimated_hits"),
        "ttl_at_most_seconds",
    ),
    count("evictions", "Entries that left because room was needed.", "evictions"),
    count("expirations", "Entries that left because their life was over.", "expirations"),
    count("invalidations", "Entries that left because they were invalidated.", "invalidations"),
    count("stale_rejects", "Values invalidated while being loaded.", "stale_rejects"),
    each(
        "nested_rejects",
        "Results not stored because of what they were made of.",
        "nested_rejects",
        None,
        "reason",
    ),
    count("oversize_rejects", "Values larger than the cache may hold.", "oversize_rejects"),
    count("fail_closed", "Valid entries not served for want of news.", "fail_closed"),
    count("stale_served", "Entries served without news, as configured.", "stale_served"),
    each("stale_answers", "Values given past their end.", "stale_answers", "freshness", "reason"),
    each("load_failures", "Callers whose load failed.", "failures", "freshness", "mode"),
    each("wait_timeouts", "Callers that waited so long.", "timeouts", "freshness", "limit"),
    each("reloads", "Loads beside an answer.", "reloads", "freshness", "outcome"),
    level("reloads_running", "Loads beside an answer, now.", "reloads_running", "freshness"),
    Family(
        "gauge",
        "adaptive_ttl_seconds",
        "The life chosen last.",
        _chosen,
        "context",
    ),
    count("lock_timeouts", "Operations given up because a lock took too long.", "lock_timeouts"),
    level("entries", "Entries held.", "total_entries"),
    level("entries_limit", "Entries that may be held.", "max_entries"),
    level("bytes", "Bytes held, as counted.", "total_size_mb", unit=_MIB),
    level("bytes_limit", "Bytes that may be held.", "max_size_mb", unit=_MIB),
    Family(
        "gauge",
        "lookup_seconds",
        "Lookups in the engine, since the cache was made.",
        _quantiles("latency_ns", "_ns", _NANOSECONDS),
        "quantile",
    ),
    state(
        "table_state",
        "Which processes hear of an invalidation at once.",
        "state",
        ("shared", "private", "lost"),
        "sharing",
    ),
    level("log_has_lease", "Whether what allows something may be served.", "has_lease", "log"),
    level(
        "log_lease_age_seconds",
        "Since when this host may have missed something; no sample: always.",
        "lease_age_ms",
        "log",
        _MILLISECONDS,
    ),
    level("log_position", "The last entry applied on this host.", "position", "log"),
    level("log_lag_entries", "Entries the log had and this host had not applied.", "lag", "log"),
    level("log_unpublished", "Invalidations not acknowledged yet.", "unpublished", "log"),
    count("log_applied", "Entries applied.", "applied", "log"),
    count("log_published", "Invalidations acknowledged by the log.", "published", "log"),
    count("log_gaps", "Times something was missing in the log.", "gaps", "log"),
    count("log_floors", "Times this process disbelieved everything.", "floors", "log"),
    count("log_garbage", "Entries that could not be understood.", "garbage", "log"),
    count("log_errors", "Times the log did not do what it was asked.", "errors", "log"),
    level("l2_enabled", "Whether values are shared between hosts.", "enabled", "l2"),
    count("l2_hits", "Lookups answered by a shared value.", "hits", "l2"),
    count("l2_misses", "Lookups for which there was no shared value.", "misses", "l2"),
    count("l2_writes", "Shared values written.", "writes", "l2"),
    count("l2_timeouts", "Calls of L2 that took too long.", "timeouts", "l2"),
    count("l2_waits", "Loads that waited for one elsewhere.", "waits", "l2"),
    count("l2_waits_in_vain", "Such loads that had to be done here.", "waits_in_vain", "l2"),
    each("l2_refused", "Shared values not believed.", "refused", "l2", "reason"),
    each("l2_not_shared", "Values loaded and not written.", "not_shared", "l2", "reason"),
    each("l2_skipped", "Lookups in L2 not tried.", "skipped", "l2", "reason"),
    each("l2_errors", "Calls of L2 that failed.", "errors_by_kind", "l2", "kind"),
    Family(
        "gauge",
        "l2_lookup_seconds",
        "The last lookups in L2 that were answered.",
        _quantiles("latency_ms", "", _MILLISECONDS, inside="l2"),
        "quantile",
    ),
    state("l2_reading_state", "The circuit breaker of lookups.", "reading", BREAKER_STATES, "l2"),
    state("l2_writing_state", "The circuit breaker of writes.", "writing", BREAKER_STATES, "l2"),
    count("l2_breaker_opened", "Times a circuit breaker opened.", "breaker_opened", "l2"),
    count("prediction_preloaded", "Entries loaded ahead.", "preloaded", "prediction"),
    count("prediction_used", "Of these, asked for while there.", "used", "prediction"),
    count("prediction_unused", "Of these, ended or left before.", "unused", "prediction"),
    count("prediction_denied", "Questions asked ahead and denied.", "denied", "prediction"),
    count("prediction_failed", "Loads ahead that failed.", "failed", "prediction"),
    level("prediction_precision", "Part of the last ones used.", "precision", "prediction"),
    level("prediction_switched_off", "Whether it did not pay.", "switched_off", "prediction"),
)
