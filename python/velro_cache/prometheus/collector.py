"""What Prometheus asks for the figures of caches."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from velro_cache.manager import OptimizedCacheManager
from velro_cache.prometheus.families import FAMILIES
from velro_cache.prometheus.family import metric_of

__all__ = ["CacheCollector"]


class CacheCollector(Collector):
    """Hands the statistics of caches to Prometheus whenever it asks for them.

    Register it once in each process::

        REGISTRY.register(CacheCollector(get_cache_manager()))

    Nothing is counted twice and the hit path knows nothing of it: a scrape reads ``get_stats()``.
    The figures are those of this process; those of its host (position, lease) are the same in all
    of its processes. No metric and no label holds a key, a tag or an id.

    Args:
        *caches: Which. Their names must differ: they are the label ``cache``.

    Raises:
        ValueError: Two of the caches have the same name.
    """

    def __init__(self, *caches: OptimizedCacheManager) -> None:
        names = [cache.config.name for cache in caches]
        if len(set(names)) < len(names):
            raise ValueError("caches of one collector need names of their own: set config.name")
        self._caches = dict(zip(names, caches, strict=True))

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, with what they are now.

        Consistency and cost: those of ``get_stats()``, once for each cache.
        """
        stats = {name: cache.get_stats() for name, cache in self._caches.items()}
        for family in FAMILIES:
            yield metric_of(family, "cache", stats)

    def describe(self) -> Iterator[Metric]:
        """Yield all metrics without samples: what registering needs to know."""
        for family in FAMILIES:
            yield metric_of(family, "cache", {})
