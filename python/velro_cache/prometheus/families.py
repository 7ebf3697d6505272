"""Each metric, and how it is read off the statistics of a cache."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

__all__ = ["FAMILIES", "Family", "Stats"]

Stats = Mapping[str, Any]
Samples = Iterable[tuple[str, float]]

_MIB: Final = 1024 * 1024
_NANOSECONDS: Final = 1e-9
_MILLISECONDS: Final = 1e-3
_QUANTILES: Final = {"p50": "0.5", "p90": "0.9", "p99": "0.99", "p999": "0.999"}


class Family(NamedTuple):
    """A metric, and how to read its samples off the statistics."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    read: Callable[[Stats], Samples]
    label: str | None = None
    """Of the samples, besides ``cache``."""


def _count(name: str, help_text: str, key: str, of: str | None = None) -> Family:
    return Family("counter", name, help_text, lambda stats: _one(stats, key, of))


def _level(name: str, help_text: str, key: str, of: str | None = None, unit: float = 1) -> Family:
    return Family("gauge", name, help_text, lambda stats: _one(stats, key, of, unit))


def _each(name: str, help_text: str, key: str, of: str | None, label: str) -> Family:
    """A count for each cause."""

    def read(stats: Stats) -> Samples:
        counts: Mapping[str, float] = _part(stats, of).get(key, {})
        return counts.items()

    return Family("counter", name, help_text, read, label)


def _part(stats: Stats, of: str | None) -> Stats:
    """What there is of the table, the log or L2; nothing without one."""
    return stats if of is None else stats[of] or {}


def _one(stats: Stats, key: str, of: str | None, unit: float = 1) -> Samples:
    value = _part(stats, of).get(key)
    # No sample says "not known"; zero would be a figure.
    return [] if value is None else [("", float(value) * unit)]


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
        figures = _part(stats, inside).get(of) or {}
        if not (figures.get("samples") or figures.get("mean")):
            return  # Nothing was timed yet.
        for short, quantile in _QUANTILES.items():
            if (value := figures.get(f"{short}{suffix}")) is not None:
                yield quantile, value * unit

    return read


def _state(key: str, states: tuple[str, ...], of: str) -> Callable[[Stats], Samples]:
    """1 for the state it is in, 0 for all others."""

    def read(stats: Stats) -> Samples:
        now = _part(stats, of).get(key)
        return [] if now is None else [(state, float(state == now)) for state in states]

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


_BREAKER: Final = ("closed", "half_open", "open")

FAMILIES: Final = (
    Family("counter", "hits", "Lookups answered from memory.", _lookups("hits"), "family"),
    Family("counter", "misses", "Lookups not answered.", _lookups("misses"), "family"),
    _each("miss_reasons", "Lookups not answered, by cause.", "miss_reasons", None, "reason"),
    _count("sets", "Entries stored, overwrites included.", "sets"),
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
    _count("evictions", "Entries that left because room was needed.", "evictions"),
    _count("expirations", "Entries that left because their life was over.", "expirations"),
    _count("invalidations", "Entries that left because they were invalidated.", "invalidations"),
    _count("stale_rejects", "Values invalidated while being loaded.", "stale_rejects"),
    _each(
        "nested_rejects",
        "Results not stored because of what they were made of.",
        "nested_rejects",
        None,
        "reason",
    ),
    _count("oversize_rejects", "Values larger than the cache may hold.", "oversize_rejects"),
    _count("fail_closed", "Valid entries not served for want of news.", "fail_closed"),
    _count("stale_served", "Entries served without news, as configured.", "stale_served"),
    _each("stale_answers", "Values given past their end.", "stale_answers", "freshness", "reason"),
    _each("load_failures", "Callers whose load failed.", "failures", "freshness", "mode"),
    _each("wait_timeouts", "Callers that waited so long.", "timeouts", "freshness", "limit"),
    _each("reloads", "Loads beside an answer.", "reloads", "freshness", "outcome"),
    _level("reloads_running", "Loads beside an answer, now.", "reloads_running", "freshness"),
    Family(
        "gauge",
        "adaptive_ttl_seconds",
        "The life chosen last.",
        _chosen,
        "context",
    ),
    _count("lock_timeouts", "Operations given up because a lock took too long.", "lock_timeouts"),
    _level("entries", "Entries held.", "total_entries"),
    _level("entries_limit", "Entries that may be held.", "max_entries"),
    _level("bytes", "Bytes held, as counted.", "total_size_mb", unit=_MIB),
    _level("bytes_limit", "Bytes that may be held.", "max_size_mb", unit=_MIB),
    Family(
        "gauge",
        "lookup_seconds",
        "Lookups in the engine, since the cache was made.",
        _quantiles("latency_ns", "_ns", _NANOSECONDS),
        "quantile",
    ),
    Family(
        "gauge",
        "table_state",
        "Which processes hear of an invalidation at once.",
        _state("state", ("shared", "private", "lost"), "sharing"),
        "state",
    ),
    _level("log_has_lease", "Whether what allows something may be served.", "has_lease", "log"),
    _level(
        "log_lease_age_seconds",
        "Since when this host may have missed something; no sample: always.",
        "lease_age_ms",
        "log",
        _MILLISECONDS,
    ),
    _level("log_position", "The last entry applied on this host.", "position", "log"),
    _level("log_lag_entries", "Entries the log had and this host had not applied.", "lag", "log"),
    _level("log_unpublished", "Invalidations not acknowledged yet.", "unpublished", "log"),
    _count("log_applied", "Entries applied.", "applied", "log"),
    _count("log_published", "Invalidations acknowledged by the log.", "published", "log"),
    _count("log_gaps", "Times something was missing in the log.", "gaps", "log"),
    _count("log_floors", "Times this process disbelieved everything.", "floors", "log"),
    _count("log_garbage", "Entries that could not be understood.", "garbage", "log"),
    _count("log_errors", "Times the log did not do what it was asked.", "errors", "log"),
    _level("l2_enabled", "Whether values are shared between hosts.", "enabled", "l2"),
    _count("l2_hits", "Lookups answered by a shared value.", "hits", "l2"),
    _count("l2_misses", "Lookups for which there was no shared value.", "misses", "l2"),
    _count("l2_writes", "Shared values written.", "writes", "l2"),
    _count("l2_timeouts", "Calls of L2 that took too long.", "timeouts", "l2"),
    _count("l2_waits", "Loads that waited for one elsewhere.", "waits", "l2"),
    _count("l2_waits_in_vain", "Such loads that had to be done here.", "waits_in_vain", "l2"),
    _each("l2_refused", "Shared values not believed.", "refused", "l2", "reason"),
    _each("l2_not_shared", "Values loaded and not written.", "not_shared", "l2", "reason"),
    _each("l2_skipped", "Lookups in L2 not tried.", "skipped", "l2", "reason"),
    _each("l2_errors", "Calls of L2 that failed.", "errors_by_kind", "l2", "kind"),
    Family(
        "gauge",
        "l2_lookup_seconds",
        "The last lookups in L2 that were answered.",
        _quantiles("latency_ms", "", _MILLISECONDS, inside="l2"),
        "quantile",
    ),
    Family(
        "gauge",
        "l2_reading_state",
        "The circuit breaker of lookups.",
        _state("reading", _BREAKER, "l2"),
        "state",
    ),
    Family(
        "gauge",
        "l2_writing_state",
        "The circuit breaker of writes.",
        _state("writing", _BREAKER, "l2"),
        "state",
    ),
    _count("l2_breaker_opened", "Times a circuit breaker opened.", "breaker_opened", "l2"),
    _count("prediction_preloaded", "Entries loaded ahead.", "preloaded", "prediction"),
    _count("prediction_used", "Of these, asked for while there.", "used", "prediction"),
    _count("prediction_unused", "Of these, ended or left before.", "unused", "prediction"),
    _count("prediction_denied", "Questions asked ahead and denied.", "denied", "prediction"),
    _count("prediction_failed", "Loads ahead that failed.", "failed", "prediction"),
    _level("prediction_precision", "Part of the last ones used.", "precision", "prediction"),
    _level("prediction_switched_off", "Whether it did not pay.", "switched_off", "prediction"),
)
