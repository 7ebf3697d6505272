"""The metrics: which there are, and how each is read off the statistics of a cache.

Names follow those that Micrometer has for caches; there is no convention of OpenTelemetry yet.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from velro_cache.manager import OptimizedCacheManager

__all__ = ["METRICS", "Measured", "Metric"]

Stats = Mapping[str, Any]
Figures = Iterable[tuple[float, dict[str, str]]]

_MIB: Final = 1024 * 1024


class Metric(NamedTuple):
    """A metric, and how to read it."""

    kind: Literal["counter", "gauge"]
    name: str
    unit: str
    help: str
    read: Callable[[Stats], Figures]


def _gets(stats: Stats) -> Figures:
    for kind, figures in stats["families"].items():
        yield figures["hits"], {"velro.cache.kind": kind, "velro.cache.result": "hit"}
        misses = figures["requests"] - figures["hits"]
        yield misses, {"velro.cache.kind": kind, "velro.cache.result": "miss"}


def _evictions(stats: Stats) -> Figures:
    for reason, key in (("size", "evictions"), ("ttl", "expirations")):
        yield stats[key], {"velro.cache.reason": reason}
    yield stats["invalidations"], {"velro.cache.reason": "invalidated"}


def _misses(stats: Stats) -> Figures:
    for reason, count in stats["miss_reasons"].items():
        yield count, {"velro.cache.reason": reason}


def _one(key: str, unit: float = 1) -> Callable[[Stats], Figures]:
    return lambda stats: [(stats[key] * unit, {})]


def _of_log(key: str, unit: float = 1) -> Callable[[Stats], Figures]:
    def read(stats: Stats) -> Figures:
        value = (stats["log"] or {}).get(key)
        # None says "not known"; zero would be a figure.
        return [] if value is None else [(float(value) * unit, {})]

    return read


METRICS: Final = (
    Metric("counter", "velro_cache.gets", "{lookup}", "Lookups, by kind and result.", _gets),
    Metric("counter", "velro_cache.misses", "{lookup}", "Lookups not answered, by cause.", _misses),
    Metric("counter", "velro_cache.puts", "{entry}", "Entries stored.", _one("sets")),
    Metric("counter", "velro_cache.evictions", "{entry}", "Entries that left.", _evictions),
    Metric(
        "counter",
        "velro_cache.stale_rejects",
        "{value}",
        "Values invalidated while being loaded.",
        _one("stale_rejects"),
    ),
    Metric(
        "counter",
        "velro_cache.fail_closed",
        "{lookup}",
        "Valid entries not served for want of news.",
        _one("fail_closed"),
    ),
    Metric("gauge", "velro_cache.entries", "{entry}", "Entries held.", _one("total_entries")),
    Metric("gauge", "velro_cache.entries.limit", "{entry}", "The most.", _one("max_entries")),
    Metric("gauge", "velro_cache.bytes", "By", "Bytes held.", _one("total_size_mb", _MIB)),
    Metric("gauge", "velro_cache.bytes.limit", "By", "The most.", _one("max_size_mb", _MIB)),
    Metric(
        "gauge",
        "velro_cache.log.lease_age",
        "s",
        "Since when this host may have missed something.",
        _of_log("lease_age_ms", 1e-3),
    ),
    Metric(
        "gauge",
        "velro_cache.log.lag",
        "{entry}",
        "Entries the log had and this host had not applied.",
        _of_log("lag"),
    ),
)


class Measured:
    """The instruments of one provider of meters.

    Args:
        meter: Makes the instruments.

    Attributes:
        caches: Those that are measured.
        load_duration: Is told of loads.
    """

    def __init__(self, meter: Meter) -> None:
        self.caches: weakref.WeakSet[OptimizedCacheManager] = weakref.WeakSet()
        self.load_duration = meter.create_histogram(
            "velro_cache.load.duration", "s", "How long loaders took."
        )
        for metric in METRICS:
            make = (
                meter.create_observable_counter
                if metric.kind == "counter"
                else meter.create_observable_gauge
            )
            make(metric.name, [self._reader(metric)], metric.unit, metric.help)

    def _reader(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        # Providers keep their callbacks for ever; caches go when they go.
        caches = self.caches

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            for cache in list(caches):
                name = {"velro.cache.name": cache.config.name}
                for value, about in metric.read(cache.get_stats()):
                    yield Observation(value, {**name, **about})

        return observe
