"""What Prometheus asks for the figures of API keys."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.last_used import LastUsedWriter
from velro_cache.api_keys.refresh import RefreshManager
from velro_cache.api_keys.usage.batched import BatchedUsage
from velro_cache.prometheus.family import Stats, count, level, metric_of

__all__ = ["API_KEY_FAMILIES", "ApiKeyCollector"]

API_KEY_FAMILIES: Final = (
    count("api_keys_hits", "Checks answered from memory.", "hits", "keys"),
    count("api_keys_loads", "Questions to the database about one key.", "loads", "keys"),
    count("api_keys_stale_served", "Answers past their time.", "stale_served", "keys"),
    count("api_keys_unavailable", "Checks nobody could answer.", "unavailable", "keys"),
    count("api_keys_malformed", "Checks of what cannot be a key.", "malformed", "keys"),
    count(
        "api_keys_refused_from_memory",
        "Checks of keys that were refused a moment ago.",
        "refused_from_memory",
        "keys",
    ),
    count(
        "api_keys_misses_refused",
        "Questions to the database that were over the budget.",
        "misses_refused",
        "keys",
    ),
    level("api_keys_unknown", "Refused keys that are remembered.", "unknown_keys", "keys"),
    count("api_keys_refreshes", "Times all live keys were read.", "refreshes", "refresh"),
    count(
        "api_keys_incremental_refreshes",
        "Times the keys were read that had changed.",
        "incremental_refreshes",
        "refresh",
    ),
    count("api_keys_refresh_failures", "Refreshes that failed.", "failures", "refresh"),
    level(
        "api_keys_refresh_failures_in_a_row",
        "Refreshes that failed since the last that did not.",
        "failed_in_a_row",
        "refresh",
    ),
    level(
        "api_keys_refresh_age_seconds",
        "Since all keys were read last; before the first time, since the start.",
        "age_seconds",
        "refresh",
    ),
    level(
        "api_keys_refresh_reads_for_host",
        "Whether this process is the one of its host that reads.",
        "reads_for_host",
        "refresh",
    ),
    level("api_keys_refresh_seconds", "How long the last whole one took.", "seconds", "last"),
    level("api_keys_refresh_keys", "Keys the last whole one read.", "total", "last"),
    level("api_keys_refresh_updated_keys", "Keys it found new or changed.", "updated", "last"),
    level("api_keys_refresh_removed_keys", "Keys it found gone.", "removed", "last"),
    level("api_keys_usage_waiting", "Usage events not written yet.", "waiting", "usage"),
    count("api_keys_usage_written", "Usage events written.", "written", "usage"),
    count("api_keys_usage_dropped", "Usage events lost.", "dropped", "usage"),
    count("api_keys_usage_failures", "Writes of usage that failed.", "failures", "usage"),
    level("api_keys_last_used_waiting", "Keys with a use not written yet.", "waiting", "last_used"),
    count("api_keys_last_used_written", "Uses written.", "written", "last_used"),
    count("api_keys_last_used_dropped", "Uses lost.", "dropped", "last_used"),
    count("api_keys_last_used_failures", "Writes of uses that failed.", "failures", "last_used"),
)


class ApiKeyCollector(Collector):
    """Hands the statistics of API keys to Prometheus whenever it asks for them.

    Register one beside a :class:`CacheCollector`, or hand it to the metrics route::

        keys_seen = ApiKeyCollector(keys, refresh=refresh, usage=usage, last_used=last_used)
        REGISTRY.register(keys_seen)
        create_admin_router(guard, collectors=[keys_seen])

    Nothing is counted twice and no request knows of it. The figures are those of this process. No
    metric and no label holds a key, a digest, an id or an organization: there are as many series
    with one key as with a million.

    Args:
        keys: Which. Their label ``cache`` is the name of the cache that holds them, as it is when
            Prometheus asks.
        refresh: What keeps them fresh. None: nobody; its metrics have no samples.
        usage: What is told of requests. None: likewise.
        last_used: What is told of uses. None: likewise.
    """

    def __init__(
        self,
        keys: ApiKeyCache,
        *,
        refresh: RefreshManager | None = None,
        usage: BatchedUsage | None = None,
        last_used: LastUsedWriter | None = None,
    ) -> None:
        self._keys = keys
        self._refresh = refresh
        self._usage = usage
        self._last_used = last_used

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, with what they are now.

        Cost: a few reads, however many keys there are.
        """
        stats = {self._keys.manager.config.name: self._stats()}
        for family in API_KEY_FAMILIES:
            yield metric_of(family, "cache", stats)

    def describe(self) -> Iterator[Metric]:
        """Yield all metrics without samples: what registering needs to know."""
        for family in API_KEY_FAMILIES:
            yield metric_of(family, "cache", {})

    def _stats(self) -> Stats:
        refresh = self._refresh and self._refresh.stats()
        last = refresh and refresh["last"]
        return {
            "keys": self._keys.stats(),
            "refresh": refresh,
            "last": last and asdict(last),
            "usage": self._usage and asdict(self._usage.statistics()),
            "last_used": self._last_used and asdict(self._last_used.statistics()),
        }
